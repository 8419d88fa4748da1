//! What VMs and vCPUs are called and how they are coloured, alike in all pictures.
//!
//! Colours are those of Okabe and Ito, which people with any colour vision tell apart; labels in
//! print carry the same message without any.

use std::collections::BTreeMap;

use super::record::{Recording, VcpuRef};

/// Blue, orange, green, vermilion, sky, purple, yellow, wine.
const HUES: [[u8; 3]; 8] = [
    [0x00, 0x72, 0xb2],
    [0xe6, 0x9f, 0x00],
    [0x00, 0x9e, 0x73],
    [0xd5, 0x5e, 0x00],
    [0x56, 0xb4, 0xe9],
    [0xcc, 0x79, 0xa7],
    [0xf0, 0xe4, 0x42],
    [0x88, 0x22, 0x55],
];

/// How many VMs have colours of their own.
pub const COLOURS: usize = 3 * HUES.len();

/// Names and colours for the VMs of a recording.
#[derive(Debug)]
pub struct Palette {
    labels: Vec<String>,
}

impl Palette {
    /// VMs whose names are short and their own keep them; others get letters that no VM is called by,
    /// in order of arrival.
    pub fn new(recording: &Recording) -> Self {
        let is_short = |name: &str| {
            (1..=2).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        };
        let mut bearers: BTreeMap<&str, usize> = BTreeMap::new();
        for vm in &recording.vms {
            *bearers.entry(&vm.name).or_default() += 1;
        }
        let is_free = |label: &String| !bearers.contains_key(label.as_str());
        let mut free = (0..).map(letters).filter(is_free);
        let label = |name: &String| {
            if is_short(name) && bearers[name.as_str()] == 1 {
                Some(name.clone())
            } else {
                free.next()
            }
        };
        let names = recording.vms.iter().map(|vm| &vm.name);
        let labels = names.filter_map(label).collect();
        Self { labels }
    }

    /// A VM in print: `A`.
    pub fn vm(&self, vm: u32) -> &str {
        self.labels.get(vm as usize).map_or("?", String::as_str)
    }

    /// A vCPU in print: `A0`.
    pub fn vcpu(&self, vcpu: VcpuRef) -> String {
        format!("{}{}", self.vm(vcpu.vm), vcpu.index)
    }
}

/// The colour of a VM, as CSS has it. After eight VMs the hues come again lighter, then darker.
pub fn colour(vm: u32) -> String {
    let [r, g, b] = rgb(vm);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The colour of text on a VM's colour: whichever of black and white stands out more.
pub fn ink(vm: u32) -> &'static str {
    let [r, g, b] = rgb(vm).map(u32::from);
    // Brightness as the eye has it.
    if 299 * r + 587 * g + 114 * b > 128_000 {
        "#000"
    } else {
        "#fff"
    }
}

fn rgb(vm: u32) -> [u8; 3] {
    let vm = vm as usize;
    let (towards, percent) = match vm / HUES.len() % 3 {
        0 => (0, 0),
        1 => (255, 45),
        _ => (0, 40),
    };
    HUES[vm % HUES.len()].map(|part| {
        let mixed = u32::from(part) * (100 - percent) + towards * percent;
        (mixed / 100) as u8
    })
}

/// A, B, ... Z, AA, AB, ...
fn letters(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8);
    match index / 26 {
        0 => last.to_string(),
        rest => format!("{}{last}", letters(rest - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::example;

    #[test]
    fn letters_go_on_after_z() {
        let some = [0, 25, 26, 51, 52, 701, 702].map(letters);
        assert_eq!(some, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
    }

    #[test]
    fn nobody_gets_the_name_of_another() {
        let mut recording = example::recording("linux", 2, 10);
        recording.vms = ["early", "A", "b2", "C"]
            .map(|name| example::vm(name, 1, 10))
            .into();
        let palette = Palette::new(&recording);
        let labels = [0, 1, 2, 3].map(|vm| palette.vm(vm));
        assert_eq!(labels, ["B", "A", "D", "C"]);
    }

    #[test]
    fn namesakes_can_be_told_apart() {
        let mut recording = example::recording("linux", 2, 10);
        recording.vms = ["vm", "x", "vm"]
            .map(|name| example::vm(name, 1, 10))
            .into();
        let palette = Palette::new(&recording);
        let labels = [0, 1, 2].map(|vm| palette.vm(vm));
        assert_eq!(labels, ["A", "x", "B"]);
    }

    #[test]
    fn two_dozen_vms_have_colours_of_their_own() {
        let mut colours: Vec<String> = (0..COLOURS as u32).map(colour).collect();
        colours.sort();
        colours.dedup();
        assert_eq!(colours.len(), 24);
        assert_eq!(colour(24), colour(0));
        assert_eq!((ink(0), ink(6)), ("#fff", "#000"));
    }
}
