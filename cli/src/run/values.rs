//! Values on the command line of `muster run`, parsed with errors that say what to type instead.

use std::path::PathBuf;

use muster_scheduler::CpuSet;
use muster_vmm::memory::MEMORY_MAX;
use muster_vmm::node_link;
use muster_vmm::{ConsoleSpec, DiskSpec};

/// The least memory that a stock kernel can do anything with.
const MEMORY_MIN: u64 = 64 << 20;

/// A size with a binary unit, such as `512M`, `1536MiB` or `5G`.
pub fn memory_bytes(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "" => return Err(format!("has no unit: did you mean {text}M?")),
        _ => return Err("is not a size: give a number and K, M, G or T, like 512M".into()),
    };
    let bytes = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or("is not a size: give a number and K, M, G or T, like 512M")?;
    if bytes < MEMORY_MIN {
        return Err("is too little: a guest needs 64M or more".into());
    }
    if bytes > MEMORY_MAX {
        return Err(format!(
            "is too much: a guest can have up to {}T",
            MEMORY_MAX >> 40
        ));
    }
    if bytes % 4096 != 0 {
        return Err("is not a multiple of 4K".into());
    }
    Ok(bytes)
}

/// A machine's name: letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
pub fn name(text: &str) -> Result<String, String> {
    if node_link::is_name(text) {
        return Ok(text.to_owned());
    }
    Err("is not a name: take up to 63 letters, digits, -, _ and ., a letter or digit first".into())
}

/// A list of host CPUs such as `0-3,8`.
pub fn cpu_set(text: &str) -> Result<Box<CpuSet>, String> {
    match text.parse::<CpuSet>() {
        Ok(cpus) if cpus.is_empty() => Err("names no CPU".into()),
        Ok(cpus) => Ok(Box::new(cpus)),
        Err(error) => Err(error.to_string()),
    }
}

/// The same, as it was written.
pub fn cpu_list(text: &str) -> Result<String, String> {
    cpu_set(text).map(|_| text.to_owned())
}

/// `PATH[,ro][,serial=TEXT]`. A comma in the path is written twice.
pub fn disk(text: &str) -> Result<DiskSpec, String> {
    let mut words = split_words(text).into_iter();
    let path = words.next().unwrap_or_default();
    if path.is_empty() {
        return Err("names no file".into());
    }
    let mut disk = DiskSpec {
        path: PathBuf::from(path),
        read_only: false,
        serial: None,
    };
    for word in words {
        match word.split_once('=') {
            None if word == "ro" => disk.read_only = true,
            Some(("serial", serial)) => disk.serial = Some(serial.to_owned()),
            _ => {
                return Err(format!(
                    "has an unknown option '{word}': after PATH come ro and serial=TEXT"
                ));
            }
        }
    }
    Ok(disk)
}

/// Splits at single commas; two commas are one in the text.
fn split_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != ',' {
            words.last_mut().expect("never empty").push(c);
        } else if chars.next_if_eq(&',').is_some() {
            words.last_mut().expect("never empty").push(',');
        } else {
            words.push(String::new());
        }
    }
    words
}

/// `tty`, `null` or `file=PATH`.
pub fn console(text: &str) -> Result<ConsoleSpec, String> {
    match (text, text.split_once('=')) {
        ("tty", _) => Ok(ConsoleSpec::Tty),
        ("null", _) => Ok(ConsoleSpec::Null),
        (_, Some(("file", path))) if !path.is_empty() => Ok(ConsoleSpec::File(path.into())),
        _ => Err("is no console: give tty, null or file=PATH".into()),
    }
}
