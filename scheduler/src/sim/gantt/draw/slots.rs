//! Lines between slots, and the slots' numbers.

use std::fmt::Write as _;

use super::{Layout, TOP, text};
use crate::Nanos;
use crate::sim::record::MarkKind;
use crate::sim::svg::text_width;

/// Lines that are nearer to each other than this, in pixels, on average, say nothing.
const APART_MIN: usize = 6;

/// A slot, as far as it lies in the window.
struct Slot {
    /// Its number, unless it ends with no other after it.
    number: Option<u64>,
    /// Whether it begins within the window.
    begins: bool,
    start_ns: Nanos,
    end_ns: Nanos,
}

impl Layout<'_> {
    pub(super) fn slots(&self, out: &mut String) {
        let slots = self.slots_in_window();
        if slots.len() > super::LANES_WIDTH as usize / APART_MIN {
            return;
        }
        let (top, bottom) = (TOP - 4, self.bottom());
        for slot in slots {
            let (start, end) = (self.x(slot.start_ns), self.x(slot.end_ns));
            if slot.begins {
                let _ = writeln!(
                    out,
                    "<line class=\"slot\" x1=\"{start:.2}\" x2=\"{start:.2}\" y1=\"{top}\" y2=\"{bottom}\" \
                     stroke-width=\"1.2\" stroke-dasharray=\"4 3\"/>"
                );
            }
            let Some(number) = slot.number else { continue };
            let names = [format!("slot {number}"), number.to_string()];
            let fits = |name: &&String| f64::from(text_width(name, 11) + 4) <= end - start;
            if let Some(name) = names.iter().find(fits) {
                let middle = start.midpoint(end) as u32;
                let style = "font-size=\"11\" text-anchor=\"middle\"";
                text(out, "ink", middle, TOP - 8, style, name);
            }
        }
    }

    /// The slots as the run had them: some end early, some last long since nobody else waits.
    fn slots_in_window(&self) -> Vec<Slot> {
        let window = self.spec.window;
        let marks = self.recording.marks.iter();
        let begins = marks.filter_map(|mark| match mark.kind {
            MarkKind::Slot { number } => Some((mark.at_ns, Some(number))),
            // Under another policy, which may have none.
            MarkKind::PolicyChange => Some((mark.at_ns, None)),
            _ => None,
        });
        let begins: Vec<(Nanos, Option<u64>)> = begins.collect();
        let ends = begins.iter().skip(1).map(|&(at, _)| at);
        let ends = ends.chain([Nanos::MAX]);
        let slots = begins.iter().zip(ends).filter_map(|(&(at, number), end)| {
            let (start_ns, end_ns) = window.clip(at, end)?;
            let begins = at >= window.from_ns;
            Some(Slot {
                number,
                begins,
                start_ns,
                end_ns,
            })
        });
        slots.collect()
    }
}
