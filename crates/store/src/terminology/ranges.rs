//! Sets of concept numbers.

use crate::{Error, Result};

/// A set of numbers as sorted, disjoint, closed ranges that do not touch. Concepts are numbered in preorder of their
/// hierarchy, so that what a question selects is mostly a few ranges, whatever its size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u32, u32)>);

impl Ranges {
    pub fn new() -> Ranges {
        Ranges(Vec::new())
    }
    pub fn one(number: u32) -> Ranges {
        Ranges(vec![(number, number)])
    }
    /// 0 to `count` - 1.
    pub fn all(count: u32) -> Ranges {
        match count.checked_sub(1) {
            Some(last) => Ranges(vec![(0, last)]),
            None => Ranges::new(),
        }
    }
    /// Numbers in any order, repeated or not.
    pub fn of(mut numbers: Vec<u32>) -> Ranges {
        numbers.sort_unstable();
        let mut made = Ranges::new();
        for number in numbers {
            made.push(number);
        }
        made
    }
    /// Adds a number that is not smaller than any in the set; others are ignored.
    pub fn push(&mut self, number: u32) {
        self.push_range(number, number);
    }
    /// Adds a range that begins not before the last one does.
    fn push_range(&mut self, low: u32, high: u32) {
        match self.0.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = (*end).max(high),
            _ => self.0.push((low, high)),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// How many numbers.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(low, high)| (high - low) as usize + 1).sum()
    }
    pub fn contains(&self, number: u32) -> bool {
        let at = self.0.partition_point(|(_, high)| *high < number);
        self.0.get(at).is_some_and(|(low, _)| *low <= number)
    }
    /// (low, high), ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(low, high)| *low..=*high)
    }
    /// At most `count` numbers after the first `skip`.
    pub fn slice(&self, skip: usize, count: usize) -> Ranges {
        let (mut skip, mut count) = (skip, count);
        let mut part = Ranges::new();
        for (low, high) in &self.0 {
            let length = (high - low) as usize + 1;
            if skip >= length {
                skip -= length;
                continue;
            }
            let take = count.min(length - skip);
            if take == 0 {
                break;
            }
            // Both fit: they are smaller than the range is long.
            let first = low + skip as u32;
            part.0.push((first, first + (take as u32 - 1)));
            skip = 0;
            count -= take;
        }
        part
    }
    pub fn union(&self, other: &Ranges) -> Ranges {
        let mut made = Ranges(Vec::with_capacity(self.0.len() + other.0.len()));
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            let next = match (a.peek(), b.peek()) {
                (Some(x), Some(y)) if x.0 <= y.0 => a.next(),
                (_, Some(_)) => b.next(),
                _ => a.next(),
            };
            let Some((low, high)) = next else { return made };
            made.push_range(*low, *high);
        }
    }
    pub fn intersect(&self, other: &Ranges) -> Ranges {
        let mut made = Ranges::new();
        let (mut a, mut b) = (0, 0);
        while let (Some(x), Some(y)) = (self.0.get(a), other.0.get(b)) {
            let (low, high) = (x.0.max(y.0), x.1.min(y.1));
            if low <= high {
                made.0.push((low, high));
            }
            if x.1 < y.1 {
                a += 1;
            } else {
                b += 1;
            }
        }
        made
    }
    pub fn minus(&self, other: &Ranges) -> Ranges {
        let mut made = Ranges::new();
        let mut b = 0;
        for (low, high) in &self.0 {
            let mut from = u64::from(*low);
            while let Some(gap) = other.0.get(b) {
                if gap.1 < *low {
                    b += 1;
                    continue;
                }
                if gap.0 > *high {
                    break;
                }
                if u64::from(gap.0) > from {
                    made.0.push((from as u32, gap.0 - 1));
                }
                from = u64::from(gap.1) + 1;
                if gap.1 >= *high {
                    break;
                }
                b += 1;
            }
            if from <= u64::from(*high) {
                made.0.push((from as u32, *high));
            }
        }
        made
    }
    /// Gaps and lengths as variable-length integers.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = RangesWriter::default();
        for (low, high) in &self.0 {
            writer.flush();
            writer.open = Some((*low, *high));
        }
        writer.finish()
    }
    /// Errors: [Error::Corrupt].
    pub fn decode(bytes: &[u8]) -> Result<Ranges> {
        let mut made = Ranges::new();
        let mut rest = bytes;
        let mut next = 0u64;
        while !rest.is_empty() {
            let word = take(&mut rest)?;
            let low = next + (word >> 1);
            let high = if word & 1 == 1 { low + take(&mut rest)? + 1 } else { low };
            let (Ok(from), Ok(to)) = (u32::try_from(low), u32::try_from(high)) else { return Err(corrupt()) };
            made.0.push((from, to));
            next = high + 1;
        }
        Ok(made)
    }
}

/// Encodes a set whose numbers come in ascending order, without holding them.
#[derive(Debug, Default)]
pub struct RangesWriter {
    bytes: Vec<u8>,
    next: u32,
    open: Option<(u32, u32)>,
}

impl RangesWriter {
    /// Adds a number; one that came before, or a smaller one, is ignored.
    pub fn push(&mut self, number: u32) {
        match &mut self.open {
            Some((_, high)) if number <= *high => {}
            Some((_, high)) if number == *high + 1 => *high = number,
            _ => {
                self.flush();
                self.open = Some((number, number));
            }
        }
    }
    fn flush(&mut self) {
        let Some((low, high)) = self.open.take() else { return };
        let gap = u64::from(low - self.next) << 1;
        if high > low {
            put(&mut self.bytes, gap | 1);
            put(&mut self.bytes, u64::from(high - low - 1));
        } else {
            put(&mut self.bytes, gap);
        }
        self.next = high.saturating_add(1);
    }
    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.bytes
    }
}

/// The union of many sets: a bit per number, so that each costs what it holds, whatever came before.
#[derive(Debug, Default)]
pub struct Union {
    bits: Vec<u64>,
}

impl Union {
    pub fn add(&mut self, more: &Ranges) {
        let Some((_, last)) = more.0.last() else { return };
        let words = *last as usize / 64 + 1;
        if self.bits.len() < words {
            self.bits.resize(words, 0);
        }
        for (low, high) in &more.0 {
            let (first, end) = (*low as usize / 64, *high as usize / 64);
            let (head, tail) = (u64::MAX << (low % 64), u64::MAX >> (63 - high % 64));
            for (at, word) in self.bits.iter_mut().enumerate().take(end + 1).skip(first) {
                let mut mask = u64::MAX;
                if at == first {
                    mask &= head;
                }
                if at == end {
                    mask &= tail;
                }
                *word |= mask;
            }
        }
    }
    pub fn finish(self) -> Ranges {
        let mut made = Ranges::new();
        for (at, word) in self.bits.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                let low = rest.trailing_zeros();
                let length = (rest >> low).trailing_ones();
                let base = at as u32 * 64 + low;
                made.push_range(base, base + (length - 1));
                if low + length >= 64 {
                    break;
                }
                rest &= u64::MAX << (low + length);
            }
        }
        made
    }
}

pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

pub(super) fn take(rest: &mut &[u8]) -> Result<u64> {
    let (mut number, mut shift) = (0u64, 0u32);
    loop {
        let (byte, tail) = rest.split_first().ok_or_else(corrupt)?;
        *rest = tail;
        if shift > 56 {
            return Err(corrupt());
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
        shift += 7;
    }
}

pub(super) fn corrupt() -> Error {
    Error::Corrupt("terminology".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Small sets from a linear congruence; enough to meet every way two ranges can lie.
    fn sets() -> Vec<BTreeSet<u32>> {
        let mut state = 7u32;
        (0..60)
            .map(|n| {
                (0..n % 13)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (state >> 16) % 24
                    })
                    .collect()
            })
            .collect()
    }

    #[test]
    fn ranges_are_sets() {
        let of = |set: &BTreeSet<u32>| Ranges::of(set.iter().copied().collect());
        for a in &sets() {
            let x = of(a);
            assert_eq!(x.iter().collect::<BTreeSet<_>>(), *a);
            assert_eq!((x.len(), x.is_empty()), (a.len(), a.is_empty()));
            assert_eq!(Ranges::decode(&x.encode()).unwrap(), x);
            let mut writer = RangesWriter::default();
            a.iter().for_each(|n| writer.push(*n));
            assert_eq!(writer.finish(), x.encode());
            for skip in 0..6 {
                let expected: Vec<u32> = a.iter().copied().skip(skip).take(3).collect();
                assert_eq!(x.slice(skip, 3).iter().collect::<Vec<_>>(), expected);
            }
            for n in 0..25 {
                assert_eq!(x.contains(n), a.contains(&n));
            }
            for b in &sets() {
                let y = of(b);
                assert_eq!(x.union(&y), of(&a.union(b).copied().collect()));
                let mut union = Union::default();
                union.add(&x);
                union.add(&y);
                assert_eq!(union.finish(), x.union(&y));
                assert_eq!(x.intersect(&y), of(&a.intersection(b).copied().collect()), "{x:?} {y:?}");
                assert_eq!(x.minus(&y), of(&a.difference(b).copied().collect()), "{x:?} {y:?}");
            }
        }
    }

    #[test]
    fn the_largest_number_and_broken_bytes_do_no_harm() {
        let long = Ranges(vec![(3, 63), (65, 64 * 5 - 1), (64 * 6, 64 * 6), (64 * 7 + 63, 64 * 9)]);
        let mut union = Union::default();
        union.add(&long);
        assert_eq!(union.finish(), long);
        let whole = Ranges(vec![(0, u32::MAX)]);
        assert_eq!(Ranges::decode(&whole.encode()).unwrap(), whole);
        assert_eq!(whole.minus(&Ranges::one(u32::MAX)), Ranges(vec![(0, u32::MAX - 1)]));
        assert!(Ranges::decode(&[0x80]).is_err());
        assert!(Ranges::decode(&[0xff; 12]).is_err());
        assert!(Ranges::decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}
