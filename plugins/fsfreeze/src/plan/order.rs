//! The order in which superblocks are frozen.

use std::collections::{BTreeMap, BTreeSet};

use super::mountinfo::DeviceId;

/// What lies on what.
#[derive(Debug, Default)]
pub struct Stacking {
    /// The superblocks that the key's data is written through.
    pub below: BTreeMap<DeviceId, BTreeSet<DeviceId>>,
    /// Superblocks whose data may be written through others besides, which cannot be told.
    pub uncertain: BTreeSet<DeviceId>,
}

/// Puts superblocks, given in the order in which they would be frozen if none lay on another, into an order in
/// which each comes before all that it lies on, directly or through others that are not in the list. With each it says
/// whether it lies, or may lie, on another of them.
///
/// A frozen file system takes no writes, so one whose file holds another must not be frozen first: the freeze of
/// the other would wait for it for ever. What lies on something uncertain may lie on anything, and comes before all that
/// does not lie on it or on the same. Where superblocks lie on each other in a circle, which no sane guest has, the
/// given order decides.
pub fn order(wanted: &[DeviceId], stacking: &Stacking) -> Vec<(DeviceId, bool)> {
    let certain: BTreeMap<DeviceId, BTreeSet<DeviceId>> =
        wanted.iter().map(|device| (*device, all_below(*device, &stacking.below))).collect();
    let uncertain: BTreeMap<DeviceId, BTreeSet<DeviceId>> = certain
        .iter()
        .map(|(device, below)| {
            let mut doubts: BTreeSet<_> = below.intersection(&stacking.uncertain).copied().collect();
            doubts.extend(stacking.uncertain.get(device));
            (*device, doubts)
        })
        .filter(|(_, doubts)| !doubts.is_empty())
        .collect();
    let mut below = certain.clone();
    for (device, doubts) in &uncertain {
        let lies_elsewhere = |other: &&DeviceId| {
            let lower = certain.get(*other);
            *other != device
                && !doubts.contains(*other)
                && lower.is_none_or(|lower| !lower.contains(device) && lower.is_disjoint(doubts))
        };
        below.entry(*device).or_default().extend(wanted.iter().filter(lies_elsewhere));
    }
    let in_circle = |upper: &DeviceId, lower: &DeviceId| below.get(lower).is_some_and(|all| all.contains(upper));
    // For each the number of those that still have to come before it.
    let mut above: BTreeMap<DeviceId, usize> = wanted.iter().map(|device| (*device, 0)).collect();
    let count = |upper: &DeviceId, add: bool, above: &mut BTreeMap<DeviceId, usize>| {
        for lower in below.get(upper).into_iter().flatten().filter(|lower| !in_circle(upper, lower)) {
            if let Some(number) = above.get_mut(lower) {
                *number = if add { *number + 1 } else { number.saturating_sub(1) };
            }
        }
    };
    wanted.iter().for_each(|upper| count(upper, true, &mut above));
    let mut waiting = wanted.to_vec();
    let mut ordered = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = waiting.iter().position(|device| above.get(device) == Some(&0)).unwrap_or(0);
        let device = waiting.remove(free);
        count(&device, false, &mut above);
        let lies_on_another = below.get(&device).is_some_and(|lower| wanted.iter().any(|other| lower.contains(other)));
        ordered.push((device, lies_on_another));
    }
    ordered
}

fn all_below(device: DeviceId, stacking: &BTreeMap<DeviceId, BTreeSet<DeviceId>>) -> BTreeSet<DeviceId> {
    let mut found = BTreeSet::new();
    let mut open = vec![device];
    while let Some(upper) = open.pop() {
        for lower in stacking.get(&upper).into_iter().flatten() {
            if *lower != device && found.insert(*lower) {
                open.push(*lower);
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn ids(minors: &[u32]) -> Vec<DeviceId> {
        minors.iter().map(|minor| DeviceId { major: 7, minor: *minor }).collect()
    }

    fn ordered(wanted: &[u32], stacking: &[(u32, u32)]) -> Vec<u32> {
        ordered_with(wanted, stacking, &[])
    }

    fn ordered_with(wanted: &[u32], stacking: &[(u32, u32)], uncertain: &[u32]) -> Vec<u32> {
        let mut graph = Stacking { uncertain: ids(uncertain).into_iter().collect(), ..Stacking::default() };
        for (upper, lower) in stacking {
            let id = |minor: &u32| DeviceId { major: 7, minor: *minor };
            graph.below.entry(id(upper)).or_default().insert(id(lower));
        }
        order(&ids(wanted), &graph).iter().map(|(device, _)| device.minor).collect()
    }

    #[test]
    fn without_stacking_the_given_order_stays() {
        assert_eq!(ordered(&[3, 1, 2], &[]), [3, 1, 2]);
    }

    #[test]
    fn each_comes_before_all_that_it_lies_on() {
        assert_eq!(ordered(&[1, 2, 3, 4], &[(4, 3), (3, 2), (2, 1)]), [4, 3, 2, 1]);
        assert_eq!(ordered(&[1, 9, 2], &[(2, 1)]), [9, 2, 1]);
        assert_eq!(ordered(&[1, 2, 3], &[(3, 1), (2, 1)]), [2, 3, 1]);
    }

    #[test]
    fn what_is_not_wanted_still_carries() {
        assert_eq!(ordered(&[1, 3], &[(3, 2), (2, 1)]), [3, 1]);
    }

    #[test]
    fn a_circle_ends_in_the_given_order_and_keeps_the_rest() {
        assert_eq!(ordered(&[1, 2, 3], &[(1, 2), (2, 1), (3, 1)]), [3, 1, 2]);
        assert_eq!(ordered(&[1], &[(1, 1)]), [1]);
    }

    #[test]
    fn what_may_lie_on_anything_comes_before_all_that_does_not_lie_on_it_or_on_the_same() {
        assert_eq!(ordered_with(&[1, 2, 3], &[(3, 90)], &[90]), [3, 1, 2]);
        assert_eq!(ordered_with(&[1, 2, 3, 4], &[(3, 90), (4, 3)], &[90]), [4, 3, 1, 2]);
        assert_eq!(ordered_with(&[1, 2, 3], &[(3, 90), (2, 90)], &[90]), [2, 3, 1]);
        assert_eq!(ordered_with(&[1, 2, 3], &[(2, 3)], &[3]), [2, 3, 1]);
        // Each may lie on the other: the given order decides.
        assert_eq!(ordered_with(&[1, 2, 3], &[(2, 90), (3, 91)], &[90, 91]), [2, 3, 1]);
    }

    #[test]
    fn who_lies_on_another_is_told() {
        let stacking =
            Stacking { below: [(ids(&[2])[0], ids(&[1]).into_iter().collect())].into(), ..Stacking::default() };
        let told: Vec<_> = order(&ids(&[1, 2]), &stacking).iter().map(|(device, on)| (device.minor, *on)).collect();
        assert_eq!(told, [(2, true), (1, false)]);
    }

    #[test]
    fn five_hundred_in_a_chain_are_ordered() {
        let wanted: Vec<u32> = (0..500).collect();
        let chain: Vec<(u32, u32)> = (1..500).map(|upper| (upper, upper - 1)).collect();
        assert_eq!(ordered(&wanted, &chain), (0..500).rev().collect::<Vec<_>>());
    }
}
