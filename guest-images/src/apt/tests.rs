use super::*;

const RECORD: &str = "\
Package: linux-image-cloud-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2), kmod, libc6:any | musl
Description: Linux for x86-64 cloud (meta-package)
 Depends: not a field
SHA256: 00be21c0

";

#[test]
fn a_record_gives_the_package() {
    assert_eq!(
        parse(RECORD).unwrap(),
        Package {
            name: "linux-image-cloud-amd64".to_owned(),
            version: "6.1.192-2".to_owned(),
            sha256: "00be21c0".to_owned(),
            depends: ["linux-image-6.1.0-56-cloud-amd64", "kmod", "libc6"]
                .map(str::to_owned)
                .to_vec(),
        }
    );
}

#[test]
fn a_package_that_is_only_installed_does_not_count() {
    assert_eq!(parse(&RECORD.replace("SHA256", "Status")), None);
}

#[test]
fn a_package_without_dependencies_has_none() {
    let record = RECORD.replace("\nDepends", "\nRecommends");
    assert!(parse(&record).unwrap().depends.is_empty());
}
