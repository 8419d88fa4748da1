use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use super::*;

/// What a child of this test is to do.
const ROLE: &str = "MUSTER_TEST_END_WITH_THREAD";

/// A process with such a thread, which does what the role says.
fn child(role: &str) -> ExitStatus {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "end_with_thread::tests::a_panic_ends_the_process",
    ]);
    command.env(ROLE, role).env("RUST_BACKTRACE", "0");
    command.output().unwrap().status
}

#[test]
fn a_panic_ends_the_process() {
    if let Ok(role) = env::var(ROLE) {
        let thread = thread::spawn(move || {
            let _guard = EndWithThread;
            assert_ne!(role, "panic", "as it was told");
        });
        // With a panic, nobody gets here.
        let _ = thread.join();
        return;
    }
    assert_eq!(child("panic").signal(), Some(libc::SIGABRT));
    assert!(child("end").success(), "a thread that ends is no reason");
}
