//! Who asks: user, groups and privileges of this process, as the host's files tell.

use super::files::HostFiles;

/// Bits of the effective capability set, from linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_NICE: u32 = 23;

/// User, groups and privileges of this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Identity {
    user: Option<String>,
    groups: Vec<u32>,
    capabilities: u64,
}

impl Identity {
    pub fn read(files: &HostFiles) -> Self {
        let status = files.text("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.strip_prefix(':')).map(str::trim)
        };
        let uid = field("Uid").and_then(|ids| ids.split_whitespace().next());
        let groups = ["Gid", "Groups"].into_iter().filter_map(field);
        Self {
            user: uid.and_then(|uid| entry(files, "/etc/passwd", 2, uid)?.into_iter().next()),
            groups: groups
                .flat_map(str::split_whitespace)
                .filter_map(|gid| gid.parse().ok())
                .collect(),
            capabilities: field("CapEff")
                .and_then(|bits| u64::from_str_radix(bits, 16).ok())
                .unwrap_or(0),
        }
    }

    fn holds(&self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }

    /// May raise priorities without limit.
    pub fn may_raise_priority(&self) -> bool {
        self.holds(CAP_SYS_NICE)
    }

    /// May create network interfaces.
    pub fn may_configure_network(&self) -> bool {
        self.holds(CAP_NET_ADMIN)
    }

    /// May handle page faults that the kernel takes on a process's behalf.
    pub fn may_handle_kernel_faults(&self) -> bool {
        self.holds(CAP_SYS_PTRACE)
    }

    /// May administer the system.
    pub fn is_administrator(&self) -> bool {
        self.holds(CAP_SYS_ADMIN)
    }

    /// This process belongs to the group.
    pub fn is_in(&self, gid: u32) -> bool {
        self.groups.contains(&gid)
    }

    /// The next login of the user will belong to the group.
    pub fn will_be_in(&self, files: &HostFiles, gid: u32) -> bool {
        let members = entry(files, "/etc/group", 2, &gid.to_string())
            .and_then(|fields| fields.get(3).cloned())
            .unwrap_or_default();
        let user = self.user.as_deref();
        members.split(',').any(|member| Some(member) == user)
    }
}

/// The name of a group.
pub(super) fn group_name(files: &HostFiles, gid: u32) -> Option<String> {
    entry(files, "/etc/group", 2, &gid.to_string())?
        .into_iter()
        .next()
}

/// Whether there is a group of this name.
pub(super) fn group_exists(files: &HostFiles, name: &str) -> bool {
    entry(files, "/etc/group", 0, name).is_some()
}

/// The fields of the first line of a colon-separated table whose field `index` is `key`.
fn entry(files: &HostFiles, table: &str, index: usize, key: &str) -> Option<Vec<String>> {
    let text = files.text(table)?;
    let line = text
        .lines()
        .find(|line| line.split(':').nth(index) == Some(key))?;
    Some(line.split(':').map(str::to_owned).collect())
}
