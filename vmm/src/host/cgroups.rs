//! Control groups: which version, and what of it this user has been given.

use serde::Serialize;

use super::answers::Answers;
use super::fact::{Area, Fact};
use super::files::HostFiles;

/// The controllers that guests can be limited with.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "io"];

/// By default systemd hands its users only some controllers.
const DELEGATE_ALL: &str = "`sudo mkdir -p /etc/systemd/system/user@.service.d && \
    printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | \
    sudo tee /etc/systemd/system/user@.service.d/delegate.conf && \
    sudo systemctl daemon-reload`, then log in again";

/// Control groups, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct CgroupReport {
    /// The version that has the controllers: 2, 1, or none at all.
    pub version: Option<u32>,
    /// The directory of this process's version 2 group.
    pub path: Option<String>,
    /// The version 2 controllers that groups below it can use.
    pub controllers: Vec<String>,
    /// This user may create groups below it.
    pub delegated: bool,
}

impl CgroupReport {
    pub(super) fn new(files: &HostFiles, answers: &Answers) -> Self {
        let path = own_directory(files);
        let controllers: Vec<String> = path
            .as_ref()
            .and_then(|path| files.text(&format!("{path}/cgroup.controllers")))
            .map(|names| names.split_whitespace().map(str::to_owned).collect())
            .unwrap_or_default();
        let has_v1 = mounts(files).any(|mount| mount.is_v1_controller());
        let version = match (&path, has_v1) {
            (Some(_), false) => Some(2),
            // Both are mounted: a controller belongs to one of them only.
            (Some(_), true) if controllers.iter().any(|name| name == "cpu") => Some(2),
            (_, true) => Some(1),
            (None, false) => None,
        };
        Self {
            version,
            controllers,
            delegated: path.is_some() && answers.cgroup_writable,
            path,
        }
    }
}

pub(super) fn facts(report: &CgroupReport) -> Vec<Fact> {
    match report.version {
        Some(2) => vec![delegation(report), controllers(report)],
        Some(_) => vec![warning(
            "cgroups",
            "version 1: guests cannot be limited",
            "add `cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1` to the kernel's command \
             line and boot again",
        )],
        None => vec![warning(
            "cgroups",
            "not mounted: guests cannot be limited",
            "`sudo mount -t cgroup2 none /sys/fs/cgroup`",
        )],
    }
}

fn warning(id: &'static str, summary: impl Into<String>, advice: &str) -> Fact {
    Fact::warning(Area::Cgroups, id, summary, advice)
}

fn delegation(report: &CgroupReport) -> Fact {
    const ID: &str = "cgroups";
    if report.delegated {
        return Fact::ok(Area::Cgroups, ID, "version 2, and you may create groups");
    }
    warning(
        ID,
        "version 2, but you may not create groups here",
        "start muster with `systemd-run --user --scope -p Delegate=yes muster ...`",
    )
}

fn controllers(report: &CgroupReport) -> Fact {
    const ID: &str = "cgroup-controllers";
    let has = |name: &&str| report.controllers.iter().any(|given| given == name);
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Fact::ok(Area::Cgroups, ID, CONTROLLERS.join(", "));
    }
    warning(
        ID,
        format!("not available here: {}", missing.join(", ")),
        DELEGATE_ALL,
    )
}

/// One line of `/proc/self/mounts`.
struct Mount {
    directory: String,
    kind: String,
    options: String,
}

impl Mount {
    fn has_option(&self, option: &str) -> bool {
        self.options.split(',').any(|given| given == option)
    }

    /// A version 1 hierarchy that controls something, unlike systemd's own.
    fn is_v1_controller(&self) -> bool {
        self.kind == "cgroup" && !self.options.contains("name=")
    }
}

fn mounts(files: &HostFiles) -> impl Iterator<Item = Mount> {
    let table = files.text("/proc/self/mounts").unwrap_or_default();
    let parse = |line: &str| {
        let mut fields = line.split(' ').skip(1).map(str::to_owned);
        Some(Mount {
            directory: fields.next()?,
            kind: fields.next()?,
            options: fields.next()?,
        })
    };
    table
        .lines()
        .filter_map(parse)
        .collect::<Vec<_>>()
        .into_iter()
}

/// The path of this process's group within the hierarchy that `is_wanted` picks by its list of
/// controllers (empty for version 2).
fn own_path(files: &HostFiles, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    let groups = files.text("/proc/self/cgroup")?;
    groups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        is_wanted(controllers).then(|| path.trim_end_matches('/').to_owned())
    })
}

/// The directory of this process's group, or the hierarchy's top if the group lies outside of what
/// a container shows.
fn directory(files: &HostFiles, mount: Mount, path: Option<String>) -> String {
    let own = format!("{}{}", mount.directory, path.unwrap_or_default());
    if files.exists(&own) {
        own
    } else {
        mount.directory
    }
}

/// The directory of this process's version 2 group.
pub(super) fn own_directory(files: &HostFiles) -> Option<String> {
    let mount = mounts(files).find(|mount| mount.kind == "cgroup2")?;
    Some(directory(files, mount, own_path(files, str::is_empty)))
}

/// The directory of this process's group in the version 1 hierarchy for processor time.
pub(super) fn own_cpu_directory_v1(files: &HostFiles) -> Option<String> {
    let mount = mounts(files).find(|mount| mount.is_v1_controller() && mount.has_option("cpu"))?;
    let is_cpu = |controllers: &str| controllers.split(',').any(|name| name == "cpu");
    Some(directory(files, mount, own_path(files, is_cpu)))
}

/// Whether a control group other than the topmost decides about this process's processor time.
pub(super) fn has_cpu_group(files: &HostFiles) -> bool {
    // Only groups below the top have these files, and in version 2 only if the group above gives
    // them the controller.
    let v1 = own_cpu_directory_v1(files);
    if let Some(group) = v1 {
        let top = mounts(files).any(|mount| mount.directory == group);
        return !top;
    }
    let Some(top) = mounts(files).find(|mount| mount.kind == "cgroup2") else {
        return false;
    };
    let mut group = own_directory(files).unwrap_or_default();
    while group.len() > top.directory.len() {
        if files.exists(&format!("{group}/cpu.weight")) {
            return true;
        }
        group.truncate(group.rfind('/').unwrap_or(0));
    }
    false
}
