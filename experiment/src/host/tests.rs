use super::*;

fn words(vm: &str) -> String {
    let text = format!("name = \"t\"\nabout = \"a\"\n[[vm]]\n{vm}\n[[metric]]\n");
    let experiment = Experiment::parse(&text).unwrap();
    let arguments = arguments(
        &experiment.vms[0],
        Path::new("/s"),
        Path::new("/guest"),
        Path::new("/c"),
    );
    let arguments = arguments.iter().map(|word| word.to_string_lossy());
    arguments.collect::<Vec<_>>().join("|")
}

#[test]
fn a_vm_is_a_command_line() {
    assert_eq!(
        words("name = \"A\"\nvcpus = 2\nworkload = \"barrier spin\"\ncap = 50"),
        "run|--node=/s|--name|A|--cpus|2|--memory|64M|--weight|256|--console|file=/c|--on-reboot|exit\
         |--cap|50|--kernel|/guest|--raw-cmdline|barrier spin"
    );
    assert_eq!(
        words("name = \"L\"\nmemory = \"1GiB\"\nkernel = \"vmlinuz\"\ncmdline = \"quiet\""),
        "run|--node=/s|--name|L|--cpus|1|--memory|1024M|--weight|256|--console|file=/c|--on-reboot|exit\
         |--kernel|vmlinuz|--cmdline|quiet"
    );
}

#[test]
fn what_a_vm_said_is_shown_in_one_line_up_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stderr");
    assert_eq!(said(&tail(&path)), "");
    fs::write(
        &path,
        format!("{}\nlast\x1b[0m\n words\n", "x".repeat(5000)),
    )
    .unwrap();
    let text = said(&tail(&path));
    assert!(text.ends_with("; last[0m; words"), "{text}");
    assert!(text.len() < STDERR_SHOWN + 10 && !text.contains('\n'));
}

#[test]
fn programs_time_is_what_is_neither_idle_nor_stolen() {
    let stat = "cpu  100 20 3 4000 500 6 7 800 90 10\ncpu0 1 1 1 1\n";
    assert_eq!(busy_ticks(stat), 136);
    assert_eq!(busy_ticks(""), 0);
}
