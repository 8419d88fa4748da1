//! How cells are filled: colours tell VMs, patterns what happens.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Layout;
use crate::sim::gantt::Look;
use crate::sim::palette;
use crate::sim::record::Activity;

/// Lines from the lower left to the upper right of a pattern of eight by eight.
const SLANTED: &str = "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4";

impl Layout<'_> {
    /// The name of a pattern; numbered, for a page may hold several charts.
    pub(super) fn pattern(&self, name: &str) -> String {
        format!("g{}{name}", self.spec.number)
    }

    pub(super) fn fill(&self, look: Look) -> String {
        match look.activity {
            Activity::Switch => "class=\"switch\"".to_owned(),
            Activity::Stolen => format!("fill=\"url(#{})\"", self.pattern("stolen")),
            _ => match (pattern_name(look), look.vcpu) {
                (Some(name), _) => format!("fill=\"url(#{})\"", self.pattern(&name)),
                (None, Some(vcpu)) => format!("fill=\"{}\"", palette::colour(vcpu.vm)),
                (None, None) => "class=\"faint\"".to_owned(),
            },
        }
    }

    /// Defines the patterns of these looks.
    pub(super) fn patterns(&self, looks: &BTreeSet<Look>, out: &mut String) {
        out.push_str("<defs>\n");
        let hatch =
            format!("<path class=\"hatch\" d=\"{SLANTED}\" fill=\"none\" stroke-width=\"1\"/>");
        let hole = format!("<rect class=\"lane\" width=\"8\" height=\"8\"/>{hatch}");
        self.define("hole", 8, &hole, out);
        let stolen = "<rect class=\"stolen\" width=\"8\" height=\"8\"/>\
             <path class=\"stolenline\" d=\"M0,0 l8,8 M0,8 l8,-8\" fill=\"none\"/>";
        self.define("stolen", 8, stolen, out);
        let mut done = BTreeSet::new();
        for look in looks {
            if let (Some(name), Some(vcpu)) = (pattern_name(*look), look.vcpu)
                && done.insert(name.clone())
            {
                let (size, body) = pattern_body(*look, vcpu.vm, &hatch);
                self.define(&name, size, &body, out);
            }
        }
        out.push_str("</defs>\n");
    }

    fn define(&self, name: &str, size: u32, body: &str, out: &mut String) {
        let name = self.pattern(name);
        let _ = writeln!(
            out,
            "<pattern id=\"{name}\" width=\"{size}\" height=\"{size}\" \
             patternUnits=\"userSpaceOnUse\">{body}</pattern>"
        );
    }
}

/// What the pattern of a look is called; `None`: it has no pattern of its VM's.
fn pattern_name(look: Look) -> Option<String> {
    let vm = look.vcpu?.vm;
    let name = match (look.activity, look.fills) {
        (Activity::Work, true) => "fills",
        (Activity::Spin, false) => "spin",
        (Activity::Spin, true) => "fillsspin",
        (Activity::Refill, false) => "refill",
        (Activity::Refill, true) => "fillsrefill",
        (Activity::Held, _) => "held",
        (Activity::Work | Activity::Switch | Activity::Stolen, _) => return None,
    };
    Some(format!("{name}{vm}"))
}

/// The size of a look's pattern, and what is in it.
fn pattern_body(look: Look, vm: u32, hatch: &str) -> (u32, String) {
    let (colour, ink) = (palette::colour(vm), palette::ink(vm));
    let pale = |opacity: &str| {
        format!(
            "<rect class=\"lane\" width=\"8\" height=\"8\"/>\
             <rect width=\"8\" height=\"8\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
        )
    };
    let base = if look.fills {
        let stripes = format!(
            "<path d=\"{SLANTED}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.4\"/>"
        );
        pale("0.3") + &stripes
    } else {
        format!("<rect width=\"8\" height=\"8\" fill=\"{colour}\"/>")
    };
    // Stripes need all of their pattern.
    let size = |alone: u32| if look.fills { 8 } else { alone };
    match look.activity {
        Activity::Held => (8, pale("0.35") + hatch),
        Activity::Spin => {
            let dot = format!(
                "<circle cx=\"3\" cy=\"3\" r=\"1.5\" fill=\"{ink}\" fill-opacity=\"0.75\"/>"
            );
            (size(6), base + &dot)
        }
        Activity::Refill => {
            let bar =
                format!("<rect width=\"1.6\" height=\"8\" fill=\"{ink}\" fill-opacity=\"0.6\"/>");
            (size(4), base + &bar)
        }
        Activity::Work | Activity::Switch | Activity::Stolen => (8, base),
    }
}
