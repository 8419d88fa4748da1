//! Where a test runs: on real KVM, be it the host's own or the lab's.
//!
//! A test of unmodified Linux guests is an ordinary test whose body is handed to [`RealKvm::run`]. On
//! a host whose KVM has hardware behind it the body runs at once. Elsewhere the same test of the same
//! binary runs in the lab, and its outcome becomes the outer test's.

use std::any::type_name;
use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use muster_guest_images::Cache;
use muster_vmm::host::{Guests, survey};
use nix::unistd::geteuid;

use crate::built_program;
use crate::images::GuestImages;
use crate::lab::Lab;

/// Set for everything that runs in the lab.
const IN_LAB: &str = "MUSTER_IN_LAB";

/// Where the lab has programs.
const LAB_PROGRAMS: &str = "/lab/bin";

/// The test binary in the lab.
const LAB_TEST: &str = "/lab/bin/test";

/// Shows that a test's body has run to its end.
const BODY_ENDED: &str = "/tmp/body-ended";

/// Runs the test. A test binary is content when no test has the name that it is given; we are not.
const RUN_TEST: &str = "\"$0\" \"$@\" || exit; test -e /tmp/body-ended && exit; \
                        echo \"no such test in the lab: $2\" >&2; exit 1";

/// Variables that reach the lab.
const PASSED_ON: [&str; 3] = ["MUSTER_LONG", "RUST_BACKTRACE", "RUST_LOG"];

/// Time for one test, everything included.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Whether this process runs in the lab.
pub fn in_lab() -> bool {
    env::var_os(IN_LAB).is_some()
}

/// The `muster` under test.
pub fn muster() -> PathBuf {
    if let Some(path) = env::var_os("MUSTER_BIN") {
        return path.into();
    }
    if in_lab() {
        return [LAB_PROGRAMS, "muster"].iter().collect();
    }
    built_program("muster").unwrap_or_else(|path| {
        panic!(
            "{} is missing: build it with `cargo build -p muster`",
            path.display()
        )
    })
}

/// Asks for real KVM, and says what the lab has to bring if the host has none.
#[derive(Debug)]
#[must_use = "nothing runs before `run`"]
pub struct RealKvm {
    lab: Lab,
    who: Who,
}

/// Whom a test's body needs to run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    Root,
    OrdinaryUser,
    LabRoot,
}

impl Default for RealKvm {
    fn default() -> Self {
        Self::new()
    }
}

impl RealKvm {
    /// Real KVM, on one CPU and 3 GiB where it is the lab's.
    pub fn new() -> Self {
        Self {
            lab: Lab::new([""; 0]).timeout(TIMEOUT),
            who: Who::Anyone,
        }
    }

    /// Sets the lab's memory.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.lab = self.lab.memory_mib(memory_mib);
        self
    }

    /// Needs an ordinary user in group kvm: root's tests go to the lab.
    pub fn as_user(mut self) -> Self {
        self.lab = self.lab.as_user();
        self.who = Who::OrdinaryUser;
        self
    }

    /// Needs root: other users' tests go to the lab.
    pub fn as_root(mut self) -> Self {
        self.who = Who::Root;
        self
    }

    /// Changes the machine it runs on, as root: goes to the lab from everywhere.
    pub fn in_lab_only(mut self) -> Self {
        self.who = Who::LabRoot;
        self
    }

    /// Sets how long the test may take in the lab, everything included.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.lab = self.lab.timeout(limit);
        self
    }

    /// Runs the body of a test there. Has to be called by the test function itself: its name is
    /// taken from `body`'s.
    pub fn run<F: FnOnce()>(self, body: F) {
        let is_root = geteuid().is_root();
        let is_who = match self.who {
            Who::Anyone => true,
            Who::Root => is_root,
            Who::OrdinaryUser => !is_root,
            Who::LabRoot => in_lab(),
        };
        if is_who && survey().guests == Guests::All {
            body();
            if in_lab() {
                fs::write(BODY_ENDED, "").expect("the lab can be written to");
            }
            return;
        }
        assert!(!in_lab(), "the lab has no working KVM, or the wrong user");
        if let Err(error) = self.run_in_lab(test_name::<F>()) {
            panic!("{}", Chain(error.as_ref()));
        }
    }

    fn run_in_lab(self, test: &str) -> Result<(), Box<dyn Error>> {
        let cache = Cache::open_default()?;
        let lab = equip(self.lab, &GuestImages::prepare(&cache)?, muster());
        let lab = lab.file(env::current_exe()?, LAB_TEST);
        let outcome = lab
            .argv([
                "sh",
                "-c",
                RUN_TEST,
                LAB_TEST,
                "--exact",
                test,
                "--nocapture",
            ])
            .run(&cache)?;
        if outcome.status == 0 {
            Ok(())
        } else {
            Err(Box::new(FailedThere(outcome.status)))
        }
    }
}

/// Puts muster and the guests' images into the lab, where [`muster()`] and [`GuestImages::here`] find
/// them.
pub fn equip(lab: Lab, images: &GuestImages, muster: PathBuf) -> Lab {
    let lab = images
        .add_to(lab)
        .file(muster, format!("{LAB_PROGRAMS}/muster"));
    let passed_on = env::vars().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    passed_on.fold(lab.env(IN_LAB, "1"), |lab, (name, value)| {
        lab.env(name, value)
    })
}

/// `suite::module::test`, which the compiler calls `suite::module::test::{{closure}}` when it names
/// the type of the test's body.
fn test_name<F>() -> &'static str {
    let name = type_name::<F>();
    let name = name.strip_suffix("::{{closure}}").unwrap_or(name);
    name.split_once("::").map_or(name, |(_crate, test)| test)
}

/// A test that failed in the lab; it has said why.
#[derive(Debug, thiserror::Error)]
#[error("the test failed in the lab with status {0}")]
struct FailedThere(i32);

/// An error with all its sources, on one line.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut error = self.0;
        while let Some(source) = error.source() {
            write!(f, ": {source}")?;
            error = source;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_the_name_of_its_test() {
        fn name_of<F: FnOnce()>(_: &F) -> &'static str {
            test_name::<F>()
        }
        let body = || ();
        assert_eq!(
            name_of(&body),
            "place::tests::a_body_tells_the_name_of_its_test"
        );
    }
}
