//! What holders of locks have borrowed is bounded, and paid back.
//!
//! Approach: from what vCPUs really had (graces, and time on CPUs that they were lent as a debt) it is
//! reckoned who has had whose time. Whoever has had another's owes it, a debt or a repayment alike: the
//! time of two vCPUs is set off. Old debts may lapse, so two sums are kept for each pair: the most that
//! can be owed, and what must be owed if all lapsed that can. The second is held to the limit; and
//! whenever a debtor begins a turn while a creditor has waited all the time, it must pay.

use std::collections::BTreeMap;

use muster_scheduler::plan::LOAN_MAX;
use muster_scheduler::policy::Repays;
use muster_scheduler::sim::record::{MarkKind, Recording, VcpuRef};
use muster_scheduler::{CpuId, Nanos, Runstate};

use super::{Broken, name};
use crate::facts::Facts;
use crate::timeline::{Stretch, Timeline};

/// The property's name.
pub const NAME: &str = "boosts are repaid";

/// When each vCPU had the turn of which CPU, by start.
type Turns = BTreeMap<VcpuRef, Vec<(Stretch, CpuId)>>;

/// A CPU's time; `None`: it would have been idle.
type Owner = Option<VcpuRef>;

/// Something that changes what is owed, or shows whether it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    /// It had time that was another's, by a loan.
    Had(VcpuRef, Owner, Nanos),
    /// It had time that was another's, by a grace.
    Stayed(VcpuRef, Owner, Nanos),
    /// Its CPU idled in its turn.
    Idled(VcpuRef, Nanos),
    /// Its turn begins.
    Begins(VcpuRef, CpuId),
}

/// A loan that was made.
#[derive(Debug, Clone, Copy)]
struct Loan {
    time: Stretch,
    cpu: CpuId,
    to: Owner,
    turn: Owner,
    is_debt: bool,
}

/// What one vCPU owes another.
#[derive(Debug, Default)]
struct Debt {
    /// The most that it can be.
    most: Nanos,
    /// When it was borrowed, and how much.
    fresh: Vec<(Nanos, Nanos)>,
}

impl Debt {
    /// Drops what may have lapsed by `now`.
    fn lapse(&mut self, now: Nanos, kept_for_ns: Nanos) {
        self.fresh.retain(|&(at, _)| now < at + kept_for_ns);
    }

    /// What must be owed of what was borrowed before `now`.
    fn fresh_ns(&self, now: Nanos) -> Nanos {
        let fresh = self.fresh.iter().filter(|&&(at, _)| at < now);
        fresh.map(|&(_, ns)| ns).sum()
    }

    /// The newest is paid first: less is left then of what has not lapsed.
    fn pay(&mut self, mut ns: Nanos) {
        self.most = self.most.saturating_sub(ns);
        while let Some((_, last)) = self.fresh.last_mut().filter(|_| ns > 0) {
            let paid = ns.min(*last);
            *last -= paid;
            ns -= paid;
            if *last == 0 {
                self.fresh.pop();
            }
        }
    }
}

/// A policy's time in charge, with all that is needed to look at it.
struct Books<'a> {
    line: &'a Timeline<'a>,
    facts: &'a Facts,
    /// When it began.
    start: Nanos,
    repays: Repays,
    holds_back: bool,
    turns: &'a Turns,
    loans: &'a [Loan],
    debts: BTreeMap<(VcpuRef, Owner), Debt>,
}

/// See the module's head. Debts end when the policy is exchanged.
pub fn check(line: &Timeline<'_>, facts: &Facts) -> Result<u64, Broken> {
    let loans = loans(line);
    let turns = turns(line.recording);
    let mut seen = 0;
    for time in times_in_charge(line.recording) {
        let claims = facts.reign(time).claims;
        let Some(repays) = claims.repays else {
            continue;
        };
        let mut books = Books {
            line,
            facts,
            start: time.start,
            repays,
            holds_back: claims.holds_back,
            turns: &turns,
            loans: &loans,
            debts: BTreeMap::new(),
        };
        for (at_ns, entry) in books.entries(time) {
            books.enter(at_ns, entry).map_err(|seen| Broken {
                property: NAME,
                at_ns,
                seen,
            })?;
            seen += u64::from(!matches!(entry, Entry::Begins(..)));
        }
    }
    Ok(seen)
}

/// Each policy's, whatever VMs and CPUs come and go.
fn times_in_charge(recording: &Recording) -> Vec<Stretch> {
    let changes = recording.marks.iter();
    let changes = changes.filter(|mark| mark.kind == MarkKind::PolicyChange);
    let mut starts: Vec<Nanos> = [0]
        .into_iter()
        .chain(changes.map(|mark| mark.at_ns))
        .collect();
    starts.push(recording.duration_ns);
    let times = starts.windows(2).map(|pair| Stretch::new(pair[0], pair[1]));
    times.collect()
}

/// All loans, each until it really was over.
fn loans(line: &Timeline<'_>) -> Vec<Loan> {
    let mut loans: Vec<Loan> = Vec::new();
    let mut last: BTreeMap<CpuId, usize> = BTreeMap::new();
    for mark in &line.recording.marks {
        let (MarkKind::Loan { cpu, .. } | MarkKind::LoanOver(cpu)) = mark.kind else {
            continue;
        };
        if let Some(before) = last.remove(&cpu) {
            loans[before].time.end = mark.at_ns;
        }
        if let MarkKind::Loan {
            to, turn, is_debt, ..
        } = mark.kind
        {
            last.insert(cpu, loans.len());
            loans.push(Loan {
                time: Stretch::new(mark.at_ns, line.recording.duration_ns),
                cpu,
                to,
                turn,
                is_debt,
            });
        }
    }
    loans
}

impl Books<'_> {
    /// All that is to be looked at, in order.
    fn entries(&self, reign: Stretch) -> Vec<(Nanos, Entry)> {
        let mut entries = Vec::new();
        let inside = |at: Nanos| (reign.start..reign.end).contains(&at);
        for mark in &self.line.recording.marks {
            let MarkKind::Grace {
                vcpu,
                used_ns,
                turn,
            } = mark.kind
            else {
                continue;
            };
            if inside(mark.at_ns) && turn != Some(vcpu) {
                entries.push((mark.at_ns, Entry::Stayed(vcpu, turn, used_ns)));
            }
        }
        let own = self.loans.iter().filter(|loan| inside(loan.time.start));
        entries.extend(own.filter_map(|loan| self.outcome(loan)));
        for turn in &self.line.recording.turns {
            if let Some(vcpu) = turn.vcpu.filter(|_| inside(turn.at_ns)) {
                entries.push((turn.at_ns, Entry::Begins(vcpu, turn.cpu)));
            }
        }
        entries.sort_unstable();
        entries
    }

    /// What came of a loan, when it was over.
    fn outcome(&self, loan: &Loan) -> Option<(Nanos, Entry)> {
        let turn = loan.turn.filter(|_| loan.is_debt)?;
        let Some(borrower) = loan.to else {
            return Some((loan.time.end, Entry::Idled(turn, loan.time.len())));
        };
        let stays = &self.line.vcpus[&borrower].stays;
        let first = stays.partition_point(|stay| stay.time.end <= loan.time.start);
        let during = stays[first..].iter();
        let during = during.take_while(|stay| stay.time.start < loan.time.end);
        let there = during.filter(|stay| stay.cpu == loan.cpu);
        let had_ns = there.map(|stay| stay.time.overlap(loan.time).len()).sum();
        Some((loan.time.end, Entry::Had(borrower, Some(turn), had_ns)))
    }

    fn enter(&mut self, now: Nanos, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Had(debtor, from, ns) => {
                let new_ns = self.borrow(now, debtor, from, ns);
                self.check_length(debtor, new_ns, self.repays.boost_ns)?;
                self.check_limit(now, debtor)
            }
            Entry::Stayed(debtor, from, ns) => {
                // The last policy may have granted it.
                if now - ns >= self.start {
                    self.check_length(debtor, ns, self.repays.grace_ns)?;
                }
                if from.is_none() && !self.repays.idle {
                    return Ok(());
                }
                self.borrow(now, debtor, from, ns);
                self.check_limit(now, debtor)
            }
            Entry::Idled(debtor, ns) => {
                let debt = self.debts.entry((debtor, None)).or_default();
                if ns > debt.most {
                    let (debtor, most) = (name(debtor), debt.most);
                    return Err(format!("{debtor} idles {ns} ns and owes {most} at most"));
                }
                debt.pay(ns);
                Ok(())
            }
            Entry::Begins(..) if self.holds_back => Ok(()),
            Entry::Begins(debtor, cpu) => self.check_paid(now, debtor, cpu),
        }
    }

    /// Gives what of it is surely a new debt.
    fn borrow(&mut self, now: Nanos, debtor: VcpuRef, from: Owner, ns: Nanos) -> Nanos {
        let (mut sure, mut possible) = (ns, ns);
        if let Some(lender) = from {
            let other = self.debts.entry((lender, Some(debtor))).or_default();
            other.lapse(now, self.repays.kept_for_ns);
            sure = ns.saturating_sub(other.most);
            possible = ns.saturating_sub(other.fresh_ns(now + 1));
            other.pay(ns);
        }
        let debt = self.debts.entry((debtor, from)).or_default();
        debt.most += possible;
        if sure > 0 {
            debt.fresh.push((now, sure));
        }
        sure
    }

    fn check_length(&self, debtor: VcpuRef, ns: Nanos, most: Nanos) -> Result<(), String> {
        // Time may be stolen while it lasts.
        if ns > most + self.facts.late_ns {
            let debtor = name(debtor);
            return Err(format!(
                "{debtor} had {ns} ns at a time, {most} is the most"
            ));
        }
        Ok(())
    }

    /// What a vCPU owes to whom for sure.
    fn of(&mut self, now: Nanos, debtor: VcpuRef) -> impl Iterator<Item = (Owner, Nanos)> + '_ {
        let kept_for = self.repays.kept_for_ns;
        let last = VcpuRef {
            index: debtor.index + 1,
            ..debtor
        };
        let line = self.line;
        let is_there = move |creditor: Owner| creditor.is_none_or(|c| now < line.life(c.vm).end);
        let debts = self.debts.range_mut((debtor, None)..(last, None));
        let debts = debts.filter(move |((_, creditor), _)| is_there(*creditor));
        debts.map(move |(&(_, creditor), debt)| {
            debt.lapse(now, kept_for);
            (creditor, debt.fresh_ns(now))
        })
    }

    fn check_limit(&mut self, now: Nanos, debtor: VcpuRef) -> Result<(), String> {
        // Time may be stolen from a grace, which lasts longer then.
        let loan_ns = self.repays.boost_ns + self.repays.grace_ns;
        let most = self.repays.limit_ns + loan_ns + self.facts.late_ns;
        let owed: Nanos = self.of(now + 1, debtor).map(|(_, ns)| ns).sum();
        if owed > most {
            let debtor = name(debtor);
            return Err(format!("{debtor} owes {owed} ns, {most} is the most"));
        }
        Ok(())
    }

    fn check_paid(&mut self, now: Nanos, debtor: VcpuRef, cpu: CpuId) -> Result<(), String> {
        let worth = self.repays.worth_ns;
        // What was borrowed at this very moment may not be known yet.
        let owed: Vec<(Owner, Nanos)> = self.of(now, debtor).collect();
        let mut owed = owed.into_iter().filter(|&(_, ns)| ns >= worth).peekable();
        if owed.peek().is_none() || self.is_lent(now, cpu) {
            return Ok(());
        }
        match owed.find(|&(creditor, _)| self.waits(now, creditor, cpu)) {
            Some((creditor, ns)) => Err(format!(
                "{} begins a turn on {cpu} and owes {ns} ns to {}, who waits",
                name(debtor),
                creditor.map_or("an idle CPU".to_owned(), name)
            )),
            None => Ok(()),
        }
    }

    /// Whether a loan of this CPU begins.
    fn is_lent(&self, now: Nanos, cpu: CpuId) -> bool {
        self.loans_at(now)
            .any(|loan| loan.cpu == cpu && loan.time.start == now)
    }

    /// Whether a vCPU can be lent this CPU, before and after what is decided at this moment.
    fn waits(&self, now: Nanos, creditor: Owner, cpu: CpuId) -> bool {
        let Some(vcpu) = creditor else { return true };
        let covers = |time: Stretch| time.start <= now && now <= time.end;
        let of = &self.line.vcpus[&vcpu];
        let has_turn = self.turns.get(&vcpu).is_some_and(|turns| {
            let after = turns.partition_point(|(time, _)| time.start <= now);
            // The one of this CPU may have ended just now.
            let last = turns[..after].last();
            last.is_some_and(|&(time, on)| now < time.end || (now == time.end && on != cpu))
        });
        let first = of.states.partition_point(|(_, time)| time.end < now);
        let mut states = of.states[first..]
            .iter()
            .take_while(|(_, time)| covers(*time));
        // Who is held back while it is on a CPU is not seen to be before it has left.
        let present = of.states.partition_point(|(_, time)| time.end <= now);
        let is_held_back = of.states[present..]
            .iter()
            .find(|(state, _)| *state != Runstate::Running)
            .is_some_and(|(state, _)| *state == Runstate::CoStopped);
        let first = of.stays.partition_point(|stay| stay.time.end < now);
        let mut stays = of.stays[first..].iter().take_while(|s| covers(s.time));
        self.facts.vms[vcpu.vm as usize].hard.contains(cpu)
            && !has_turn
            && !is_held_back
            && !self.loans_at(now).any(|loan| loan.to == creditor)
            && states.all(|(state, _)| matches!(state, Runstate::Ready | Runstate::Running))
            && stays.all(|stay| stay.cpu == cpu)
    }

    /// Loans that begin, last or end at this moment.
    fn loans_at(&self, now: Nanos) -> impl Iterator<Item = &Loan> {
        let from = now.saturating_sub(LOAN_MAX);
        let first = self.loans.partition_point(|loan| loan.time.start < from);
        let begun = self.loans[first..].iter();
        let begun = begun.take_while(move |loan| loan.time.start <= now);
        begun.filter(move |loan| now <= loan.time.end)
    }
}

fn turns(recording: &Recording) -> Turns {
    let mut turns: Turns = BTreeMap::new();
    let mut last: BTreeMap<CpuId, (VcpuRef, Nanos)> = BTreeMap::new();
    for change in &recording.turns {
        if let Some((vcpu, since)) = last.remove(&change.cpu) {
            let time = Stretch::new(since, change.at_ns);
            turns.entry(vcpu).or_default().push((time, change.cpu));
        }
        if let Some(vcpu) = change.vcpu {
            last.insert(change.cpu, (vcpu, change.at_ns));
        }
    }
    for (cpu, (vcpu, since)) in last {
        let time = Stretch::new(since, recording.duration_ns);
        turns.entry(vcpu).or_default().push((time, cpu));
    }
    turns
}

#[cfg(test)]
mod tests;
