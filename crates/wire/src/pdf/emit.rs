//! Laid-out pages to PDF bytes.

use super::layout::{Colour, Mark, Page};
use super::shape::{self, FONTS};
use super::{Document, PageSize, PdfError};
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::paint::Fill;
use krilla::surface::Surface;
use krilla::text::Font;

impl PageSize {
    /// Width and height in points (1/72 inch).
    pub(super) fn points(self) -> (f32, f32) {
        match self {
            PageSize::A4 => (595.28, 841.89),
            PageSize::A5 => (419.53, 595.28),
        }
    }
}

fn fill(colour: Colour) -> Fill {
    let (red, green, blue) = match colour {
        Colour::Ink => (0x16, 0x1d, 0x1f),
        Colour::Quiet => (0x55, 0x60, 0x64),
        Colour::Accent => (0x0b, 0x5a, 0x5a),
        Colour::Rule => (0xc9, 0xd2, 0xd3),
        Colour::Shade => (0xf1, 0xf5, 0xf5),
        Colour::Warning => (0x9a, 0x2a, 0x1c),
    };
    Fill { paint: rgb::Color::new(red, green, blue).into(), ..Fill::default() }
}

pub fn emit(document: &Document, pages: &[Page]) -> Result<Vec<u8>, PdfError> {
    let broken = |what: &str| PdfError::Writer(what.to_owned());
    let fonts = FONTS
        .iter()
        .map(|data| Font::new((*data).into(), 0))
        .collect::<Option<Vec<Font>>>()
        .ok_or_else(|| broken("font"))?;
    let (width, height) = document.size.points();
    let mut pdf = krilla::Document::new();
    pdf.set_metadata(
        Metadata::new()
            .title(document.title.clone())
            .language(document.language.clone())
            .creator("Uzima".into())
            .authors(vec![document.letterhead.0.clone()]),
    );
    for page in pages {
        let settings = PageSettings::from_wh(width, height).ok_or_else(|| broken("page size"))?;
        let mut sheet = pdf.start_page_with(settings);
        let mut surface = sheet.surface();
        for mark in &page.marks {
            draw(&mut surface, mark, &fonts);
        }
        surface.finish();
        sheet.finish();
    }
    pdf.finish().map_err(|error| PdfError::Writer(format!("{error:?}")))
}

fn draw(surface: &mut Surface<'_>, mark: &Mark, fonts: &[Font]) {
    match mark {
        Mark::Box { x, y, width, height, colour } => {
            let Some(rect) = Rect::from_xywh(*x, *y, *width, *height) else { return };
            paint(surface, *colour, |path| path.push_rect(rect));
        }
        Mark::Squares { x, y, side, cells } => paint(surface, Colour::Ink, |path| {
            // Runs along a row become one rectangle: no hairlines between the cells.
            for &(column, row, length) in cells {
                let at = |index: usize| index as f32 * side;
                if let Some(rect) = Rect::from_xywh(x + at(column), y + at(row), at(length), *side) {
                    path.push_rect(rect);
                }
            }
        }),
        Mark::Text { x, y, size, weight, colour, text } => {
            surface.set_fill(Some(fill(*colour)));
            let mut pen = *x;
            for run in shape::shape(text, *weight).runs {
                if let Some(font) = fonts.get(run.font) {
                    surface.draw_glyphs(
                        Point::from_xy(pen, *y),
                        &run.glyphs,
                        font.clone(),
                        &run.text,
                        *size,
                        false,
                    );
                }
                pen += run.width_em * size;
            }
        }
    }
}

fn paint(surface: &mut Surface<'_>, colour: Colour, build: impl FnOnce(&mut PathBuilder)) {
    let mut path = PathBuilder::new();
    build(&mut path);
    if let Some(path) = path.finish() {
        surface.set_fill(Some(fill(colour)));
        surface.draw_path(&path);
    }
}
