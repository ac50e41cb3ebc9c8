//! Numbers for concepts: a preorder walk, so that descendants are few ranges.

use store::terminology::Ranges;

/// The hierarchy of a code system, by number.
pub(crate) struct Hierarchy {
    /// The number of the concept that came n-th.
    pub number: Vec<u32>,
    /// By number: which concept it was.
    pub place: Vec<u32>,
    /// By number.
    pub parents: Vec<Ranges>,
    /// By number, without the concept itself.
    pub descendants: Vec<Ranges>,
    /// Edges left out because they would close a circle.
    pub circles: usize,
}

/// `parents` holds, for each concept in the order they came, the places of its parents.
pub(crate) fn number(parents: &[Vec<u32>]) -> Hierarchy {
    let count = parents.len();
    let mut children: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (child, above) in parents.iter().enumerate() {
        for parent in above {
            if let Some(list) = children.get_mut(*parent as usize) {
                list.push(child as u32);
            }
        }
    }
    const NONE: u32 = u32::MAX;
    let mut walk = Walk {
        number: vec![NONE; count],
        place: Vec::with_capacity(count),
        done: vec![false; count],
        below: vec![Ranges::new(); count],
        circles: 0,
    };
    // Roots first; what is left then lies on circles.
    for root in (0..count).filter(|n| parents[*n].is_empty()).chain(0..count) {
        if walk.number[root] == NONE {
            walk.from(root, &children);
        }
    }
    let mut by_number = vec![Ranges::new(); count];
    let mut descendants = vec![Ranges::new(); count];
    for (place, above) in parents.iter().enumerate() {
        let at = walk.number[place] as usize;
        let numbers = above.iter().filter_map(|p| walk.number.get(*p as usize).copied()).collect();
        by_number[at] = Ranges::of(numbers);
        descendants[at] = std::mem::take(&mut walk.below[place]);
    }
    Hierarchy {
        number: walk.number,
        place: walk.place,
        parents: by_number,
        descendants,
        circles: walk.circles,
    }
}

struct Walk {
    number: Vec<u32>,
    place: Vec<u32>,
    done: Vec<bool>,
    below: Vec<Ranges>,
    circles: usize,
}

impl Walk {
    /// Without recursion: hierarchies of broken files may be deep.
    fn from(&mut self, root: usize, children: &[Vec<u32>]) {
        self.enter(root);
        let mut stack: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((node, next)) = stack.last_mut() {
            let node = *node;
            match children[node].get(*next) {
                Some(child) => {
                    *next += 1;
                    let child = *child as usize;
                    if self.number[child] == u32::MAX {
                        self.enter(child);
                        stack.push((child, 0));
                    } else if !self.done[child] {
                        self.circles += 1;
                    }
                }
                None => {
                    stack.pop();
                    self.leave(node, &children[node]);
                }
            }
        }
    }
    fn enter(&mut self, node: usize) {
        self.number[node] = self.place.len() as u32;
        self.place.push(node as u32);
    }
    fn leave(&mut self, node: usize, children: &[u32]) {
        let mut below = Ranges::of(children.iter().map(|c| self.number[*c as usize]).collect());
        for child in children {
            let more = &self.below[*child as usize];
            if !more.is_empty() {
                below = below.union(more);
            }
        }
        self.below[node] = below.minus(&Ranges::one(self.number[node]));
        self.done[node] = true;
    }
}
