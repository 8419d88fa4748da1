use super::*;

/// The smallest ELF file with this `.modinfo` section.
fn module(modinfo: &[&str]) -> Vec<u8> {
    let info: Vec<u8> = modinfo
        .iter()
        .flat_map(|entry| [entry.as_bytes(), b"\0"].concat())
        .collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (64, 64 + info.len() as u64);
    let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [1u16, 62] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    for word in [0, 0, sections_at] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 0, 0, 64, 3, 2] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(&info);
    elf.extend(names);
    elf.resize(sections_at as usize, 0);
    for (name, kind, at, len) in [
        (0u32, 0u32, 0, 0),
        (1, 1, info_at, info.len() as u64),
        (10, 3, names_at, names.len() as u64),
    ] {
        elf.extend(name.to_le_bytes());
        elf.extend(kind.to_le_bytes());
        for word in [0, 0, at, len, 0, 1, 0] {
            elf.extend(u64::to_le_bytes(word));
        }
    }
    elf
}

/// A tree of modules: path and `.modinfo`.
fn tree(modules: &[(&str, &[&str])], builtin: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, modinfo) in modules {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, module(modinfo)).unwrap();
    }
    fs::write(dir.path().join("modules.builtin"), builtin).unwrap();
    dir
}

fn sample() -> tempfile::TempDir {
    let dir = tree(
        &[
            (
                "kernel/a/top-one.ko",
                &["license=GPL", "depends=mid_b,mid_a", "softdep=post: never"],
            ),
            (
                "kernel/a/mid-a.ko",
                &["depends=base", "softdep=pre: crypto-sum gone post: later"],
            ),
            ("kernel/a/mid-b.ko", &["depends=base", "parm=x:depends=top"]),
            ("kernel/b/base.ko", &["depends="]),
            (
                "kernel/b/fast-sum.ko",
                &["depends=base", "alias=crypto-sum", "alias=has space"],
            ),
            (
                "kernel/b/slow_sum.ko",
                &["depends=", "alias=crypto-sum", "softdep=pre: mid-a"],
            ),
        ],
        "kernel/c/built-in.ko\n",
    );
    prepare(dir.path()).unwrap();
    dir
}

fn closure(dir: &Path, names: &[&str]) -> Vec<String> {
    let files = Index::read(dir).unwrap().closure(names).unwrap();
    assert!(files.iter().all(|path| path.is_file()));
    files.iter().map(|path| module_name(path)).collect()
}

#[test]
fn the_index_has_what_depmod_writes() {
    let dir = sample();
    let read = |file| fs::read_to_string(dir.path().join(file)).unwrap();
    let dep = read("modules.dep");
    assert!(dep.contains("kernel/b/base.ko:\n"), "{dep}");
    assert!(
        dep.contains("kernel/a/mid-a.ko: kernel/b/base.ko\n"),
        "{dep}"
    );
    assert!(
        dep.contains("kernel/a/top-one.ko: kernel/a/mid-a.ko kernel/a/mid-b.ko kernel/b/base.ko\n"),
        "{dep}"
    );
    assert_eq!(
        read("modules.softdep"),
        "softdep mid_a pre: crypto-sum gone\nsoftdep slow_sum pre: mid-a\n"
    );
    assert_eq!(
        read("modules.alias"),
        "alias crypto-sum fast_sum\nalias crypto-sum slow_sum\n"
    );
}

#[test]
fn a_closure_loads_everything_once_and_in_order() {
    let dir = sample();
    assert_eq!(
        closure(dir.path(), &["top_one", "base", "top-one"]),
        ["base", "mid_b", "fast_sum", "slow_sum", "mid_a", "top_one"]
    );
    assert_eq!(closure(dir.path(), &["mid-b"]), ["base", "mid_b"]);
    assert!(closure(dir.path(), &["built-in", "built_in"]).is_empty());
}

#[test]
fn a_soft_dependency_never_comes_before_what_it_needs() {
    let dir = tree(
        &[
            ("a.ko", &["depends=", "softdep=pre: b c"]),
            ("b.ko", &["depends=a"]),
            ("c.ko", &["depends="]),
        ],
        "",
    );
    prepare(dir.path()).unwrap();
    assert_eq!(closure(dir.path(), &["a"]), ["c", "a"]);
    assert_eq!(closure(dir.path(), &["a", "b"]), ["c", "a", "b"]);
}

#[test]
fn unknown_modules_are_named() {
    let dir = sample();
    let error = Index::read(dir.path())
        .unwrap()
        .closure(&["base", "no-such"])
        .unwrap_err();
    assert_eq!(error.to_string(), "the kernel has no module no_such");
}

#[test]
fn a_tree_that_does_not_fit_together_is_refused() {
    let incomplete = tree(&[("a.ko", &["depends=gone"])], "");
    let error = prepare(incomplete.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "module a needs gone, which the kernel's package does not have"
    );
    let circular = tree(&[("a.ko", &["depends=b"]), ("b.ko", &["depends=a"])], "");
    let error = prepare(circular.path()).unwrap_err();
    assert_eq!(error.to_string(), "module a depends on itself");
    let broken = tree(&[], "");
    fs::write(broken.path().join("a.ko"), "not an ELF file").unwrap();
    let error = prepare(broken.path()).unwrap_err();
    assert!(matches!(error, ModulesError::NotModule { .. }), "{error}");
}

#[test]
fn compressed_modules_are_unpacked_in_place() {
    let dir = tree(
        &[
            ("a.ko", &["depends=b"]),
            ("sub/b.ko", &["depends=c"]),
            ("c.ko", &["depends="]),
        ],
        "",
    );
    for (tool, path) in [(XZ, "a.ko"), (ZSTD, "sub/b.ko"), (GZIP, "c.ko")] {
        let options: &[&str] = if tool.name == "zstd" {
            &["-q", "--rm"]
        } else {
            &[]
        };
        tool.output(tool.command().args(options).arg(dir.path().join(path)))
            .unwrap();
        assert!(!dir.path().join(path).exists());
    }
    prepare(dir.path()).unwrap();
    assert_eq!(closure(dir.path(), &["a"]), ["c", "b", "a"]);
}
