//! Every fuzz target, on its seeds and on mutations of them: the same inputs in every run.

use std::fs;
use std::path::Path;

use muster_tests::fuzz::mutation::{Random, mutate};
use muster_tests::fuzz::{TARGETS, Target};

/// Mutations per target: a second or two.
const MUTATIONS: u64 = 20_000;

/// Runs an input. If that panics, the input is kept for `cargo xtask fuzz`.
fn run(target: &Target, what: &str, input: &[u8]) {
    struct Keep<'a>(&'a Target, &'a str, &'a [u8]);
    impl Drop for Keep<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let name = format!("{}-{}", self.0.name, self.1);
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
                match fs::write(&path, self.2) {
                    Ok(()) => eprintln!("the input is in {}", path.display()),
                    Err(error) => eprintln!("the input {:02x?} is not saved: {error}", self.2),
                }
            }
        }
    }
    let _keep = Keep(target, what, input);
    (target.run)(input);
}

fn smoke(name: &str) {
    let target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .expect("there is such a target");
    let seeds = (target.seeds)();
    run(target, "empty", &[]);
    for (index, seed) in seeds.iter().enumerate() {
        run(target, &format!("seed-{index}"), seed);
    }
    for number in 0..MUTATIONS {
        let input = mutate(&seeds, &mut Random::new(number));
        run(target, &format!("mutation-{number}"), &input);
    }
}

/// One test per target, so that they run side by side.
macro_rules! smoke_tests {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                smoke(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), tested);
        }
    };
}

smoke_tests! {
    block_request
    cmdline
    disk_spec
    experiment
    initrd_load
    kernel_load
    kernel_types
    node_api
    node_board
    node_hello
    policy_spec
    scenario
    topology
    virtio_mmio
}
