//! Text to glyphs: order of directions, choice of font per character, shaping, measuring and wrapping.

use super::TEXT_CHARS_MAX;
use krilla::text::{GlyphId, KrillaGlyph};
use rustybuzz::{Direction, Face, UnicodeBuffer};
use std::ops::Range;
use std::sync::LazyLock;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    Regular,
    Bold,
}

macro_rules! fonts {
    ($($name:literal),*) => { [$(include_bytes!(concat!("fonts/NotoSans", $name, ".ttf")) as &'static [u8]),*] };
}

/// The first is the text face, the second its bold; the rest are asked in this order for what the first lacks.
pub const FONTS: [&[u8]; 9] = fonts![
    "-Regular",
    "-Bold",
    "Arabic-Regular",
    "Ethiopic-Regular",
    "Hebrew-Regular",
    "Devanagari-Regular",
    "NKo-Regular",
    "Tifinagh-Regular",
    "Adlam-Regular"
];
const BOLD: usize = 1;

/// `None` would be a damaged build; the tests look at each.
static FACES: LazyLock<Vec<Option<Face<'static>>>> =
    LazyLock::new(|| FONTS.iter().map(|data| Face::from_slice(data, 0)).collect());

/// Glyphs of one font and one direction, in visual order.
#[derive(Debug, Clone)]
pub struct Run {
    pub font: usize,
    /// The text of the run in logical order; glyph ranges point into it.
    pub text: String,
    pub glyphs: Vec<KrillaGlyph>,
    /// In em: times the font size it is the width in points.
    pub width_em: f32,
}

/// One line, shaped, runs from left to right.
#[derive(Debug, Clone, Default)]
pub struct Shaped {
    pub runs: Vec<Run>,
    pub width_em: f32,
}

/// Control characters would print as boxes; tabs and line ends become spaces.
fn printable(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Shapes one line.
pub fn shape(text: &str, weight: Weight) -> Shaped {
    let text = printable(text);
    let mut shaped = Shaped::default();
    let bidi = unicode_bidi::BidiInfo::new(&text, None);
    for paragraph in &bidi.paragraphs {
        let (levels, order) = bidi.visual_runs(paragraph, paragraph.range.clone());
        for range in order {
            let backward = levels.get(range.start).is_some_and(|level| level.is_rtl());
            let mut parts = split_by_font(&text[range], weight);
            if backward {
                parts.reverse();
            }
            for (font, part) in parts {
                let run = shape_run(font, part, backward);
                shaped.width_em += run.width_em;
                shaped.runs.push(run);
            }
        }
    }
    shaped
}

/// Width in em of the shaped text.
pub fn width_em(text: &str, weight: Weight) -> f32 {
    shape(text, weight).width_em
}

fn has(font: usize, character: char) -> bool {
    FACES.get(font).and_then(Option::as_ref).is_some_and(|face| face.glyph_index(character).is_some())
}

/// Stretches of text that one font can draw. Spaces and marks stay with what is before them.
fn split_by_font(text: &str, weight: Weight) -> Vec<(usize, &str)> {
    let mut parts: Vec<(usize, Range<usize>)> = Vec::new();
    for (at, character) in text.char_indices() {
        let end = at + character.len_utf8();
        let preferred = if weight == Weight::Bold { [BOLD, 0] } else { [0, 0] };
        let last = parts.last().map(|(font, _)| *font);
        let stays = last.filter(|font| *font > BOLD && has(*font, character));
        let font = stays
            .or_else(|| preferred.into_iter().find(|font| has(*font, character)))
            .or_else(|| (2..FONTS.len()).find(|font| has(*font, character)))
            .or(last)
            .unwrap_or(preferred[0]);
        match parts.last_mut() {
            Some((current, range)) if *current == font => range.end = end,
            _ => parts.push((font, at..end)),
        }
    }
    parts.into_iter().map(|(font, range)| (font, &text[range])).collect()
}

fn shape_run(font: usize, text: &str, backward: bool) -> Run {
    let mut run = Run { font, text: text.to_owned(), glyphs: Vec::new(), width_em: 0.0 };
    let Some(face) = FACES.get(font).and_then(Option::as_ref) else { return run };
    let mut buffer = UnicodeBuffer::new();
    buffer.push_str(text);
    buffer.guess_segment_properties();
    buffer.set_direction(if backward { Direction::RightToLeft } else { Direction::LeftToRight });
    let output = rustybuzz::shape(face, &[], buffer);
    let em = face.units_per_em() as f32;
    let mut starts: Vec<usize> = output.glyph_infos().iter().map(|info| info.cluster as usize).collect();
    starts.push(text.len());
    starts.sort_unstable();
    starts.dedup();
    for (info, position) in output.glyph_infos().iter().zip(output.glyph_positions()) {
        let start = info.cluster as usize;
        let end = starts.iter().copied().find(|s| *s > start).unwrap_or(text.len());
        run.width_em += position.x_advance as f32 / em;
        run.glyphs.push(KrillaGlyph::new(
            GlyphId::new(info.glyph_id),
            position.x_advance as f32 / em,
            position.x_offset as f32 / em,
            position.y_offset as f32 / em,
            position.y_advance as f32 / em,
            start..end,
            None,
        ));
    }
    run
}

/// Breaks text into lines of at most `width` points: at line ends of the text, at spaces, and inside a word
/// that is wider than a line. Never returns an empty list.
pub fn wrap(text: &str, weight: Weight, size: f32, width: f32) -> Vec<String> {
    let mut lines = Vec::new();
    let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
    for paragraph in text.lines() {
        let mut line = String::new();
        let mut used = 0.0;
        let space = width_em(" ", weight) * size;
        // A no-break space keeps a number with its unit.
        let words = paragraph.split(|c: char| c.is_whitespace() && c != '\u{a0}' && c != '\u{202f}');
        for word in words.filter(|word| !word.is_empty()) {
            let wide = width_em(word, weight) * size;
            if !line.is_empty() && used + space + wide <= width {
                line.push(' ');
                line.push_str(word);
                used += space + wide;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            let (mut full, rest) = break_word(word, weight, size, width, wide);
            lines.append(&mut full);
            used = width_em(&rest, weight) * size;
            line = rest;
        }
        lines.push(line);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// The full lines of an over-long word, and what is left of it.
fn break_word(word: &str, weight: Weight, size: f32, width: f32, wide: f32) -> (Vec<String>, String) {
    if wide <= width {
        return (Vec::new(), word.to_owned());
    }
    let mut full = Vec::new();
    let mut piece = String::new();
    let mut used = 0.0;
    for character in word.chars() {
        let advance = width_em(character.encode_utf8(&mut [0; 4]), weight) * size;
        if !piece.is_empty() && used + advance > width {
            full.push(std::mem::take(&mut piece));
            used = 0.0;
        }
        piece.push(character);
        used += advance;
    }
    (full, piece)
}
