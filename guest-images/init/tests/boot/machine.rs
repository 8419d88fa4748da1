//! The emulated PC.
//!
//! QEMU's `isa-debug-exit` stands in for muster's exit-status port: a write of S there ends QEMU at
//! once with the status 2 S + 1.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use muster_guest_images::initramfs::GUEST_MODULES;
use muster_guest_images::{Busybox, Cache, Initramfs, Kernel};

/// Emulation is slow, and the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A machine that is gone when the test is over.
pub struct Machine {
    qemu: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    seen: String,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Machine {
    /// Boots with these words on the kernel command line and these QEMU options.
    pub fn boot(words: &str, options: &[&str]) -> Self {
        let cache = Cache::open_default().unwrap();
        let kernel = Kernel::debian_cloud(&cache).unwrap();
        Self::start(&kernel, &initramfs(&cache, &kernel), words, options)
    }

    /// Boots any kernel and initramfs.
    pub fn start(kernel: &Kernel, initramfs: &Path, words: &str, options: &[&str]) -> Self {
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256"])
            .args([
                "-display",
                "none",
                "-nodefaults",
                "-no-reboot",
                "-serial",
                "stdio",
            ])
            .args(["-device", "isa-debug-exit,iobase=0x501,iosize=1"])
            .arg("-kernel")
            .arg(&kernel.vmlinuz)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &format!("console=ttyS0 quiet panic=-1 {words}")])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs qemu-system-x86_64 (apt-get install qemu-system-x86)");
        let (sender, lines) = channel();
        let output = BufReader::new(qemu.stdout.take().unwrap());
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let input = qemu.stdin.take().unwrap();
        Self {
            qemu,
            input,
            lines,
            seen: String::new(),
        }
    }

    /// Waits for a line with `text` in it.
    pub fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no {text:?} in:\n{}", self.seen);
            };
            self.seen.push_str(&format!("{line}\n"));
            if line.contains(text) {
                return;
            }
        }
    }

    /// Types a line.
    pub fn enter(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Waits for the machine's end; its exit code and everything it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.qemu.try_wait().unwrap() {
                break status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "the machine does not end:\n{}",
                self.seen
            );
            thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv() {
            self.seen.push_str(&format!("{line}\n"));
        }
        (status.code(), std::mem::take(&mut self.seen))
    }
}

/// The binary under test.
pub fn init() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_muster-init"))
}

/// The options that attach a raw disk image.
pub fn disk_options(image: &Path) -> [String; 2] {
    [
        "-drive".to_owned(),
        format!("if=virtio,format=raw,file={}", image.display()),
    ]
}

fn initramfs(cache: &Cache, kernel: &Kernel) -> PathBuf {
    let busybox = Busybox::debian(cache).unwrap();
    let mut initramfs = Initramfs::new(&busybox, init()).unwrap();
    initramfs.add_modules(kernel, &GUEST_MODULES).unwrap();
    initramfs.build(cache, "init-test").unwrap()
}
