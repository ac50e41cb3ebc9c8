//! Blind changes of known inputs, for the tests; what is guided by coverage is libFuzzer's.

/// Values at the edges of what readers count with.
const EDGES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"-1",
    b"0",
    b"9223372036854775808",
    b"1e400",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b"\r\n",
    b"&#0;",
    b"\\u0000",
    b"%00",
    b"[[[[[[[[",
    b"((((((((",
    b"{\"a\":",
];
/// Changes of one input at the most.
const CHANGES_MAX: usize = 6;

/// A reproducible row of changed inputs.
pub struct Mutator(u64);

impl Mutator {
    /// The same seed gives the same row.
    pub fn new(seed: u64) -> Mutator {
        Mutator(seed)
    }

    /// Below `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    /// Another input, made of these; empty for none.
    pub fn next_of(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let Some(first) = inputs.get(self.below(inputs.len())) else { return Vec::new() };
        let mut bytes = first.clone();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(crate::INPUT_BYTES_MAX);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let (a, b) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        match self.below(7) {
            0 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte = self.below(256) as u8;
                }
            }
            2 => drop(bytes.drain(from..to)),
            3 => {
                let copy = bytes[from..to].to_vec();
                let at = self.below(bytes.len() + 1);
                bytes.splice(at..at, copy);
            }
            4 => {
                let edge = EDGES[self.below(EDGES.len())];
                bytes.splice(from..from, edge.iter().copied());
            }
            5 => {
                let edge = EDGES[self.below(EDGES.len())];
                let end = bytes.len().min(from + edge.len());
                bytes.splice(from..end, edge.iter().copied());
            }
            _ => {
                let other = &inputs[self.below(inputs.len())];
                let cut = self.below(other.len() + 1);
                bytes.splice(from..to, other[cut..].iter().copied());
            }
        }
    }
}
