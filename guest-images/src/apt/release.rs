//! Which Debian release a new root file system is made from: the host's own.

/// A Debian release and the archives that have its packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its code name, such as `bookworm`.
    pub codename: String,
    /// Its archives, updates and security fixes included, as lines of a `sources.list`.
    pub sources: Vec<String>,
}

/// An archive that apt knows.
struct Archive<'a> {
    origin: &'a str,
    codename: &'a str,
    uri: &'a str,
    release: &'a str,
    component: &'a str,
}

/// Chooses from apt's index targets the release that `os_release` names, else the first. Other
/// vendors' archives and backports are left out.
pub fn choose(targets: &str, os_release: &str) -> Option<Release> {
    let archives: Vec<_> = targets
        .lines()
        .filter_map(parse)
        .filter(|archive| archive.origin == "Debian")
        .collect();
    let host = os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'));
    // Those of updates and the like have a dash in their name.
    let mut main = archives
        .iter()
        .map(|archive| archive.codename)
        .filter(|name| !name.contains('-'));
    let first = main.clone().next()?;
    let codename = host
        .filter(|host| main.any(|name| name == *host))
        .unwrap_or(first);
    let belongs = |archive: &&Archive<'_>| {
        matches!(
            archive.codename.strip_prefix(codename),
            Some("" | "-updates" | "-security")
        )
    };
    let mut sources: Vec<String> = Vec::new();
    for archive in archives.iter().filter(belongs) {
        let line = format!(
            "deb {} {} {}",
            archive.uri, archive.release, archive.component
        );
        if !sources.contains(&line) {
            sources.push(line);
        }
    }
    Some(Release {
        codename: codename.to_owned(),
        sources,
    })
}

fn parse(line: &str) -> Option<Archive<'_>> {
    match line.split('|').collect::<Vec<_>>()[..] {
        [origin, codename, uri, release, component] => Some(Archive {
            origin,
            codename,
            uri,
            release,
            component,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "\
Other|stable|http://other.example/|stable|main
Debian|trixie|http://deb.example/debian/|testing|main
Debian|bookworm|http://deb.example/debian/|stable|main
Debian|bookworm|http://deb.example/debian/|stable|main
Debian|bookworm-backports|http://deb.example/debian/|bookworm-backports|main
Debian|bookworm-updates|http://deb.example/debian/|bookworm-updates|main
Debian|bookworm-security|http://deb.example/security/|bookworm-security|main
";

    #[test]
    fn the_hosts_release_comes_with_its_updates() {
        let release = choose(TARGETS, "ID=debian\nVERSION_CODENAME=bookworm\n").unwrap();
        assert_eq!(release.codename, "bookworm");
        assert_eq!(
            release.sources,
            [
                "deb http://deb.example/debian/ stable main",
                "deb http://deb.example/debian/ bookworm-updates main",
                "deb http://deb.example/security/ bookworm-security main",
            ]
        );
    }

    #[test]
    fn an_unknown_host_gets_the_first_release() {
        for host in ["", "VERSION_CODENAME=noble\n"] {
            assert_eq!(choose(TARGETS, host).unwrap().codename, "trixie");
        }
    }

    #[test]
    fn other_vendors_do_not_count() {
        assert_eq!(
            choose("Other|stable|http://other.example/|stable|main\n", ""),
            None
        );
        assert_eq!(choose("", "VERSION_CODENAME=bookworm\n"), None);
    }
}
