//! The Merkle tree of RFC 9162 §2.1 over SHA-256: pure functions over hashes.

use ring::digest::{Context, SHA256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Levels between two kept roots of complete subtrees: 256 entries, 256² entries, …
pub const KEPT_LEVELS: u32 = 8;

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// RFC 9162 §2.1.1: the hash of one entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(entry);
    finish(context)
}

/// RFC 9162 §2.1.1: the hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[1]);
    context.update(left);
    context.update(right);
    finish(context)
}

/// The root of the tree without entries.
pub fn empty_root() -> Hash {
    finish(Context::new(&SHA256))
}

/// A tree that can only grow: the roots of its complete subtrees. Adding an entry costs two hashes on average, the root
/// as many as the size has bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One for each set bit of the size, largest subtree first.
    roots: Vec<Hash>,
}

impl Frontier {
    /// Entries so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes one after the other, as [Frontier::from_bytes] takes them.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// `None` if the bytes do not fit the size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Frontier> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && hashes.len() == size.count_ones() as usize;
        fits.then(|| Frontier { size, roots: hashes.to_vec() })
    }

    /// Adds an entry by its leaf hash. `kept` is told of each complete subtree of 256, 256², … entries: level, number
    /// and root.
    pub fn push(&mut self, leaf: Hash, kept: &mut dyn FnMut(u32, u64, Hash)) {
        let mut hash = leaf;
        for level in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
            }
            if (level + 1) % KEPT_LEVELS == 0 {
                kept(level + 1, self.size >> (level + 1), hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        let Some(last) = roots.next() else { return empty_root() };
        roots.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// Where the hashes of a tree are kept.
pub trait Hashes {
    type Error;
    /// The hash of an entry.
    fn leaf(&mut self, index: u64) -> Result<Hash, Self::Error>;
    /// The root of the complete subtree of `2^level` entries from `number · 2^level`; `level` is a multiple of
    /// [KEPT_LEVELS] above 0.
    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Self::Error>;
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (u64::BITS - 1 - (size - 1).leading_zeros())
}

/// The root of the entries `from..to` of a tree; `from` is a multiple of the largest power of two in `to - from`.
/// Errors: of `hashes`.
pub fn root<H: Hashes + ?Sized>(hashes: &mut H, from: u64, to: u64) -> Result<Hash, H::Error> {
    let count = to - from;
    match count {
        0 => return Ok(empty_root()),
        1 => return hashes.leaf(from),
        _ => {}
    }
    let level = count.trailing_zeros();
    if count.is_power_of_two() && level.is_multiple_of(KEPT_LEVELS) {
        return hashes.node(level, from >> level);
    }
    let middle = from + split(count);
    let left = root(hashes, from, middle)?;
    Ok(node_hash(&left, &root(hashes, middle, to)?))
}

/// RFC 9162 §2.1.3.1: proof that entry `index` is in the tree of `size` entries; `index < size`. Errors: of `hashes`.
pub fn inclusion<H: Hashes + ?Sized>(hashes: &mut H, index: u64, size: u64) -> Result<Vec<Hash>, H::Error> {
    let (mut from, mut to, mut path) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            path.push(root(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(root(hashes, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// RFC 9162 §2.1.4.1: proof that the tree of `second` entries begins with that of `first`; `0 < first <= second`.
/// Errors: of `hashes`.
pub fn consistency<H: Hashes + ?Sized>(
    hashes: &mut H,
    first: u64,
    second: u64,
) -> Result<Vec<Hash>, H::Error> {
    let (mut from, mut to, mut whole, mut path) = (0, second, true, Vec::new());
    while first != to {
        let middle = from + split(to - from);
        if first <= middle {
            path.push(root(hashes, middle, to)?);
            to = middle;
        } else {
            path.push(root(hashes, from, middle)?);
            from = middle;
            whole = false;
        }
    }
    if !whole {
        path.push(root(hashes, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// RFC 9162 §2.1.3.2: whether `path` proves that `leaf` is entry `index` of the tree with this size and root.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], expected: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut number, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *expected
}

/// RFC 9162 §2.1.4.2: whether `path` proves that the tree of `second` entries begins with that of `first`.
pub fn verify_consistency(
    (first, first_root): (u64, &Hash),
    (second, second_root): (u64, &Hash),
    path: &[Hash],
) -> bool {
    if first == second {
        return path.is_empty() && first_root == second_root;
    }
    if first == 0 {
        // Every tree begins with the empty one.
        return path.is_empty() && *first_root == empty_root();
    }
    if first > second {
        return false;
    }
    let mut path = path.iter();
    let start = if first.is_power_of_two() { Some(first_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut number, mut last) = (first - 1, second - 1);
    let levels = number.trailing_ones();
    number >>= levels;
    last >>= levels;
    let (mut old, mut new) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && old == *first_root && new == *second_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::convert::Infallible;

    struct Kept {
        leaves: Vec<Hash>,
        nodes: HashMap<(u32, u64), Hash>,
    }

    impl Hashes for Kept {
        type Error = Infallible;
        fn leaf(&mut self, index: u64) -> Result<Hash, Infallible> {
            Ok(self.leaves[usize::try_from(index).unwrap()])
        }
        fn node(&mut self, level: u32, number: u64) -> Result<Hash, Infallible> {
            Ok(self.nodes[&(level, number)])
        }
    }

    /// MTH of RFC 9162 §2.1.1, word for word.
    fn definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let mut k = 1;
                while k * 2 < many.len() {
                    k *= 2;
                }
                node_hash(&definition(&many[..k]), &definition(&many[k..]))
            }
        }
    }

    fn tree(size: u64) -> (Kept, Vec<Hash>) {
        let (mut kept, mut frontier) =
            (Kept { leaves: Vec::new(), nodes: HashMap::new() }, Frontier::default());
        let mut roots = vec![frontier.root()];
        for n in 0..size {
            let leaf = leaf_hash(&n.to_be_bytes());
            kept.leaves.push(leaf);
            let nodes = &mut kept.nodes;
            frontier.push(leaf, &mut |level, number, hash| {
                assert!(nodes.insert((level, number), hash).is_none())
            });
            frontier = Frontier::from_bytes(frontier.size(), &frontier.to_bytes()).unwrap();
            roots.push(frontier.root());
        }
        (kept, roots)
    }

    /// The vectors of Certificate Transparency's reference implementation.
    #[test]
    fn known_roots() {
        let inputs: [&str; 8] = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        for (input, root) in inputs.iter().zip(roots) {
            let bytes: Vec<u8> = (0..input.len() / 2)
                .map(|n| u8::from_str_radix(&input[2 * n..2 * n + 2], 16).unwrap())
                .collect();
            frontier.push(leaf_hash(&bytes), &mut |_, _, _| {});
            let got: String = frontier.root().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(got, root);
        }
    }

    #[test]
    fn proofs_hold_for_every_pair_of_sizes_and_for_nothing_else() {
        let size = 70;
        let (mut kept, roots) = tree(size);
        for second in 1..=size {
            assert_eq!(roots[second as usize], definition(&kept.leaves[..second as usize]));
            for index in 0..second {
                let path = inclusion(&mut kept, index, second).unwrap();
                let (leaf, root) = (kept.leaves[index as usize], roots[second as usize]);
                assert!(verify_inclusion(&leaf, index, second, &path, &root), "{index} of {second}");
                let wrong = kept.leaves[((index + 1) % size) as usize];
                assert!(!verify_inclusion(&wrong, index, second, &path, &root));
                assert!(!verify_inclusion(&leaf, index, second, &path, &roots[(second - 1) as usize]));
                if !path.is_empty() {
                    assert!(!verify_inclusion(&leaf, index, second, &path[1..], &root));
                    assert!(!verify_inclusion(&leaf, index, second, &path[..path.len() - 1], &root));
                }
            }
            for first in 1..=second {
                let path = consistency(&mut kept, first, second).unwrap();
                let (old, new) = (roots[first as usize], roots[second as usize]);
                assert!(verify_consistency((first, &old), (second, &new), &path), "{first} to {second}");
                assert!(!verify_consistency((first, &new), (second, &old), &path) || old == new);
                if !path.is_empty() {
                    assert!(!verify_consistency((first, &old), (second, &new), &path[1..]));
                    let mut flipped = path.clone();
                    flipped[0][0] ^= 1;
                    assert!(!verify_consistency((first, &old), (second, &new), &flipped));
                }
            }
        }
    }

    #[test]
    fn kept_nodes_give_the_same_proofs() {
        let (mut kept, roots) = tree(1500);
        assert_eq!(kept.nodes.len(), 5);
        for (first, second) in [(1, 1500), (256, 1500), (257, 1024), (511, 1300), (1024, 1025), (1279, 1280)]
        {
            let path = consistency(&mut kept, first, second).unwrap();
            let (old, new) = (roots[first as usize], roots[second as usize]);
            assert!(verify_consistency((first, &old), (second, &new), &path), "{first} to {second}");
            let path = inclusion(&mut kept, first, second).map(|path| (path, kept.leaves[first as usize]));
            let Ok((path, leaf)) = path;
            if first < second {
                assert!(verify_inclusion(&leaf, first, second, &path, &new));
            }
        }
        assert_eq!(roots[1500], definition(&kept.leaves));
    }
}
