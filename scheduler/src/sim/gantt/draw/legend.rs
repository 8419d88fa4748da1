//! What the colours and patterns mean.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{LEFT, Layout, RIGHT, WIDTH, text};
use crate::sim::gantt::Look;
use crate::sim::gantt::cells::Cells;
use crate::sim::palette;
use crate::sim::record::Activity;
use crate::sim::report::short_time;
use crate::sim::svg::text_width;

/// The most VMs that are named. Where there are more, those that can be seen come first.
const VMS_MAX: usize = 48;

impl Layout<'_> {
    /// Writes the legend from `top` on. Returns where it ends.
    pub(super) fn legend(
        &self,
        looks: &BTreeSet<Look>,
        cells: &Cells,
        top: u32,
        out: &mut String,
    ) -> u32 {
        let mut entries = self.vm_entries(looks);
        for (activity, meaning) in [
            (Activity::Spin, "spinning"),
            (Activity::Refill, "filling caches"),
            (Activity::Held, "held for a halted vCPU"),
            (Activity::Switch, "switching"),
            (Activity::Stolen, "stolen from the host"),
        ] {
            let alike = looks.iter().filter(|look| look.activity == activity);
            if let Some(look) = alike.min_by_key(|look| look.fills) {
                entries.push((self.fill(*look), meaning.to_owned()));
            }
        }
        let fills = |look: &&Look| look.fills && look.activity == Activity::Work;
        if let Some(look) = looks.iter().find(fills) {
            let meaning = "in a hole, without the rest of its gang";
            entries.push((self.fill(*look), meaning.to_owned()));
        }
        let hole = format!("fill=\"url(#{})\"", self.pattern("hole"));
        entries.push((hole, "idle: a hole if somebody waits".to_owned()));
        let bottom = boxes(&entries, top, out);
        self.notes(cells, bottom, out)
    }

    /// The VMs' colours, letters and names.
    fn vm_entries(&self, looks: &BTreeSet<Look>) -> Vec<(String, String)> {
        let vms = &self.recording.vms;
        let mut shown: Vec<u32> = (0..vms.len() as u32).collect();
        if vms.len() > VMS_MAX {
            let seen: BTreeSet<u32> = looks
                .iter()
                .filter_map(|look| Some(look.vcpu?.vm))
                .collect();
            shown.sort_by_key(|vm| !seen.contains(vm));
            shown.truncate(VMS_MAX);
            shown.sort_unstable();
        }
        let entry = |&vm: &u32| {
            let (label, name) = (self.palette.vm(vm), &vms[vm as usize].name);
            let meaning = if label == name {
                label.to_owned()
            } else {
                format!("{label} = {name}")
            };
            (format!("fill=\"{}\"", palette::colour(vm)), meaning)
        };
        let mut entries: Vec<(String, String)> = shown.iter().map(entry).collect();
        let more = vms.len() - shown.len();
        if more > 0 {
            let meaning = format!("and {more} more VMs");
            entries.push(("fill=\"none\"".to_owned(), meaning));
        }
        entries
    }

    /// What a reader must know of the picture's limits.
    fn notes(&self, cells: &Cells, mut y: u32, out: &mut String) -> u32 {
        let mut note = |class: &str, note: &str| {
            y += 22;
            text(out, class, LEFT, y, "font-size=\"12\"", note);
        };
        if self.recording.vms.len() > palette::COLOURS {
            let count = palette::COLOURS;
            let again =
                format!("After {count} VMs the colours come again: the letters tell them apart.");
            note("faint", &again);
        }
        if self.recording.spans_lost > 0 {
            let lost = self.recording.spans_lost;
            note(
                "marktext",
                &format!(
                    "The last {lost} spans of the run were not kept: what looks idle at the end may not be."
                ),
            );
        }
        if let Some((column_ns, spans)) = cells.columns {
            note(
                "marktext",
                &format!(
                    "{spans} spans are too many to draw: every {} shows what took most of it. Draw a shorter window for more.",
                    short_time(column_ns)
                ),
            );
        }
        y + 20
    }
}

/// Boxes with what they mean, in lines. Returns where the last line is.
fn boxes(entries: &[(String, String)], top: u32, out: &mut String) -> u32 {
    let (mut x, mut y) = (LEFT, top);
    for (fill, meaning) in entries {
        let width = 26 + text_width(meaning, 12) + 18;
        if x > LEFT && x + width > WIDTH - RIGHT {
            (x, y) = (LEFT, y + 22);
        }
        let box_top = y - 12;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{box_top}\" width=\"20\" height=\"15\" {fill}/>"
        );
        text(out, "ink", x + 26, y, "font-size=\"12\"", meaning);
        x += width;
    }
    y
}
