use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use super::*;

#[test]
fn a_directory_is_made_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster");
    let claimed = NodeDirectory::claim(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(claimed.api_socket(), path.join("api.sock"));
    assert_eq!(claimed.node_socket(), path.join("node.sock"));
}

#[test]
fn there_is_one_node_manager_and_the_next_one_learns_its_pid() {
    let dir = tempfile::tempdir().unwrap();
    let first = NodeDirectory::claim(dir.path()).unwrap();
    let refused = NodeDirectory::claim(dir.path()).unwrap_err().to_string();
    let pid = std::process::id();
    assert_eq!(
        refused,
        format!("a node manager is running already (pid {pid})")
    );
    drop(first);
    drop(NodeDirectory::claim(dir.path()).unwrap());
}

#[test]
fn a_dead_ones_sockets_are_removed_and_ours_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (api, node) = (dir.path().join("api.sock"), dir.path().join("node.sock"));
    drop(UnixListener::bind(&api).unwrap());
    drop(UnixListener::bind(&node).unwrap());
    let claimed = NodeDirectory::claim(dir.path()).unwrap();
    assert!(!api.exists() && !node.exists());
    let _ours = UnixListener::bind(claimed.api_socket()).unwrap();
    drop(claimed);
    assert!(!api.exists());
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    fs::write(&path, "precious").unwrap();
    let refused = NodeDirectory::claim(dir.path()).unwrap_err();
    assert!(
        matches!(refused, DirectoryError::InTheWay { .. }),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn directories_that_others_can_write_to_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o707, 0o1777] {
        fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        let refused = NodeDirectory::claim(dir.path()).unwrap_err();
        assert!(
            matches!(refused, DirectoryError::Writable { .. }),
            "{mode:o}: {refused}"
        );
    }
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    NodeDirectory::claim(dir.path()).unwrap();
}

#[test]
fn directories_of_others_and_links_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("link");
    symlink(dir.path(), &link).unwrap();
    let refused = NodeDirectory::claim(&link).unwrap_err();
    assert!(
        matches!(refused, DirectoryError::NotADirectory { .. }),
        "{refused}"
    );
    let lost = dir.path().join("no/where");
    let refused = NodeDirectory::claim(&lost).unwrap_err();
    assert!(
        matches!(refused, DirectoryError::Create { .. }),
        "{refused}"
    );
    let foreign = if nix::unistd::geteuid().is_root() {
        let path = dir.path().join("theirs");
        fs::create_dir(&path).unwrap();
        nix::unistd::chown(&path, Some(65_534.into()), None).unwrap();
        path
    } else {
        PathBuf::from("/")
    };
    let refused = NodeDirectory::claim(&foreign).unwrap_err();
    assert!(
        matches!(refused, DirectoryError::Foreign { .. }),
        "{refused}"
    );
}
