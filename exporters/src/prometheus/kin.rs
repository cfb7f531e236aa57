//! What many series have in common: family, resource and source, in one small number.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use pdata::Origin;
use smallvec::SmallVec;

use super::kind::Update;
use super::labels::{LabelRules, LabelText};
use super::slots::Slots;

/// The kin of a series.
#[derive(Debug)]
pub(super) struct Kin {
    pub(super) family: u32,
    /// The resource's `target_info`, or [`NONE`].
    target: u32,
    /// The source that is read as a whole, or [`NONE`].
    pub(super) source: u32,
    pub(super) update: Update,
    /// Whether the source's last read failed and nothing of it is to be shown.
    pub(super) hidden: bool,
    series: u32,
}

/// All kin, and the targets they come from.
#[derive(Debug, Default)]
pub(super) struct Kinship {
    slots: Slots<Kin>,
    index: HashMap<(u32, u32, u32, Update), u32>,
    targets: Targets,
    hidden: usize,
}

/// Resources that tell more of themselves than who they are: the series of `target_info`.
#[derive(Debug, Default)]
pub(super) struct Targets {
    slots: Slots<Target>,
    by_text: HashMap<Box<str>, u32>,
    /// By job and instance, in order; of several the one that came first is shown.
    by_identity: BTreeMap<Box<str>, SmallVec<[u32; 1]>>,
    /// The origin seen last: sources send many series of one.
    last: Option<(Arc<Origin>, u32)>,
    /// Whether a label's name is outside the classic grammar.
    pub(super) foreign: bool,
    scratch: LabelText,
}

#[derive(Debug)]
struct Target {
    identity: Box<str>,
    text: Box<str>,
    kin: u32,
}

/// No target, no source.
pub(super) const NONE: u32 = u32::MAX;

impl Kinship {
    /// The kin of a new series.
    pub(super) fn join(&mut self, family: u32, target: u32, source: u32, update: Update, hidden: bool) -> u32 {
        let key = (family, target, source, update);
        let kin = *self.index.entry(key).or_insert_with(|| {
            self.hidden += usize::from(hidden);
            self.targets.hold(target);
            self.slots.insert(Kin { family, target, source, update, hidden, series: 0 })
        });
        self.slots[kin].series += 1;
        kin
    }

    /// A series of this kin has gone.
    pub(super) fn leave(&mut self, kin: u32) {
        let one = &mut self.slots[kin];
        one.series -= 1;
        if one.series > 0 {
            return;
        }
        let Kin { family, target, source, update, hidden, .. } = *one;
        self.slots.remove(kin);
        self.index.remove(&(family, target, source, update));
        self.hidden -= usize::from(hidden);
        self.targets.release(target);
    }

    /// Hides or shows all that comes from a source.
    pub(super) fn set_hidden(&mut self, source: u32, hidden: bool) {
        for (_, kin) in self.slots.iter_mut().filter(|(_, kin)| kin.source == source && kin.hidden != hidden) {
            kin.hidden = hidden;
            self.hidden = if hidden { self.hidden + 1 } else { self.hidden - 1 };
        }
    }

    /// Whether anything is hidden at all.
    pub(super) fn any_hidden(&self) -> bool {
        self.hidden > 0
    }

    pub(super) fn get(&self, kin: u32) -> &Kin {
        &self.slots[kin]
    }

    pub(super) fn targets(&self) -> &Targets {
        &self.targets
    }

    pub(super) fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }
}

impl Kin {
    pub(super) fn target(&self) -> u32 {
        self.target
    }
}

impl Targets {
    /// The target of an origin, made when there is none; [`NONE`] when it has nothing to tell.
    pub(super) fn of(&mut self, origin: &Arc<Origin>, rules: &LabelRules) -> u32 {
        if let Some((last, target)) = &self.last
            && Arc::ptr_eq(last, origin)
        {
            return *target;
        }
        let target = self.find_or_insert(origin, rules);
        self.last = Some((origin.clone(), target));
        target
    }

    fn find_or_insert(&mut self, origin: &Origin, rules: &LabelRules) -> u32 {
        if !self.scratch.of_target(rules, &origin.resource) {
            return NONE;
        }
        let foreign = self.scratch.is_foreign();
        let text: Box<str> = self.scratch.write(false).into();
        if let Some(target) = self.by_text.get(&text) {
            return *target;
        }
        self.foreign |= foreign;
        self.scratch.of_identity(&origin.resource);
        let identity: Box<str> = self.scratch.write(false).into();
        let target = self.slots.insert(Target { identity: identity.clone(), text: text.clone(), kin: 0 });
        self.by_text.insert(text, target);
        self.by_identity.entry(identity).or_default().push(target);
        target
    }

    fn hold(&mut self, target: u32) {
        if let Some(target) = self.slots.get_mut(target) {
            target.kin += 1;
        }
    }

    fn release(&mut self, target: u32) {
        let Some(one) = self.slots.get_mut(target) else { return };
        one.kin -= 1;
        if one.kin == 0 {
            self.remove(target);
        }
    }

    fn remove(&mut self, target: u32) {
        let Some(gone) = self.slots.remove(target) else { return };
        self.last = None;
        self.by_text.remove(&gone.text);
        if let Some(same) = self.by_identity.get_mut(&gone.identity) {
            same.retain(|candidate| *candidate != target);
            if same.is_empty() {
                self.by_identity.remove(&gone.identity);
            }
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == 0
    }

    /// Label texts in order, one for each job and instance, from after `after` on; with the key to go on from.
    pub(super) fn after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        use std::ops::Bound;
        let from: Bound<Box<str>> = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.into()));
        let all = self.by_identity.range((from, Bound::Unbounded));
        all.filter_map(|(identity, same)| Some((&**identity, &*self.slots.get(*same.first()?)?.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdata::Attributes;

    fn origin(host: &str) -> Arc<Origin> {
        let resource = Attributes::from_pairs([("service.name", "s"), ("host", host)]);
        Arc::new(Origin { resource, ..Origin::default() })
    }

    #[test]
    fn of_two_resources_with_one_identity_the_first_is_shown_until_it_goes() {
        let (mut kinship, rules) = (Kinship::default(), LabelRules::default());
        let shown =
            |kinship: &Kinship| kinship.targets().after(None).map(|(_, text)| text.to_owned()).collect::<Vec<_>>();
        let kin = ["b", "a"].map(|host| {
            let target = kinship.targets_mut().of(&origin(host), &rules);
            kinship.join(0, target, NONE, Update::Set, false)
        });
        assert_eq!(shown(&kinship), [r#"host="b",job="s""#]);
        kinship.leave(kin[0]);
        assert_eq!(shown(&kinship), [r#"host="a",job="s""#]);
        kinship.leave(kin[1]);
        assert!(kinship.targets().is_empty() && shown(&kinship).is_empty());
    }

    #[test]
    fn hiding_a_source_hides_its_kin_and_no_other() {
        let mut kinship = Kinship::default();
        let (one, two) = (kinship.join(0, NONE, 1, Update::Set, false), kinship.join(0, NONE, 2, Update::Set, false));
        kinship.set_hidden(1, true);
        assert!(kinship.get(one).hidden && !kinship.get(two).hidden && kinship.any_hidden());
        kinship.leave(one);
        assert!(!kinship.any_hidden());
    }
}
