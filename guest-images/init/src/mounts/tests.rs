use super::*;

#[test]
fn only_block_devices_are_disks() {
    let table = b"rootfs / rootfs rw 0 0\n\
        proc /proc proc rw 0 0\n\
        /dev/vda / ext4 rw 0 0\n\
        /dev/vdb /mnt/a\\040b\\134c ext4 ro 0 0\n\
        broken\n";
    assert_eq!(
        disks(table),
        [PathBuf::from("/"), PathBuf::from("/mnt/a b\\c")]
    );
}

#[test]
fn what_is_no_escape_stays() {
    for path in ["/a\\", "/a\\0", "/a\\400", "/a\\08x", "/\\x41"] {
        assert_eq!(unescape(path.as_bytes()), PathBuf::from(path));
    }
}
