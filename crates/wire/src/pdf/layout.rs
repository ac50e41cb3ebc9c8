//! Blocks to marks on pages. All measures are points; y grows downwards, text is placed by its baseline.

use super::shape::{Weight, width_em, wrap};
use super::{Align, BLOCKS_MAX, Block, Document, PAGES_MAX, PageSize, PdfError, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    Ink,
    Quiet,
    Accent,
    Rule,
    Shade,
    Warning,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    Text {
        x: f32,
        y: f32,
        size: f32,
        weight: Weight,
        colour: Colour,
        text: String,
    },
    Box {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        colour: Colour,
    },
    /// Cells of a QR code: `(column, row, length)` in units of `side`.
    Squares {
        x: f32,
        y: f32,
        side: f32,
        cells: Vec<(usize, usize, usize)>,
    },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    pub marks: Vec<Mark>,
}

/// Type sizes of one page format.
struct Scale {
    body: f32,
    small: f32,
    title: f32,
    name: f32,
    margin: f32,
}

struct Flow<'a> {
    document: &'a Document,
    scale: Scale,
    width: f32,
    bottom: f32,
    y: f32,
    pages: Vec<Page>,
    items: usize,
}

/// Distance between baselines, as a factor of the size.
const LEADING: f32 = 1.36;
/// Baseline below the top of a line, as a factor of the size.
const ASCENT: f32 = 1.02;

/// Lays the document out. Errors: [PdfError::TooLong], [PdfError::CodeTooLong].
pub fn pages(document: &Document) -> Result<Vec<Page>, PdfError> {
    if document.blocks.len() > BLOCKS_MAX {
        return Err(PdfError::TooLong);
    }
    let (page_width, page_height) = document.size.points();
    let scale = match document.size {
        PageSize::A4 => Scale { body: 10.5, small: 8.5, title: 17.0, name: 14.0, margin: 51.0 },
        PageSize::A5 => Scale { body: 9.5, small: 7.5, title: 14.0, name: 12.0, margin: 34.0 },
    };
    let mut flow = Flow {
        width: page_width - 2.0 * scale.margin,
        bottom: page_height - scale.margin - 22.0,
        document,
        scale,
        y: 0.0,
        pages: Vec::new(),
        items: 0,
    };
    flow.page()?;
    for block in &document.blocks {
        flow.block(block)?;
    }
    flow.footers();
    Ok(flow.pages)
}

impl Flow<'_> {
    fn left(&self) -> f32 {
        self.scale.margin
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.marks.push(mark);
        }
    }

    fn text(&mut self, x: f32, top: f32, size: f32, weight: Weight, colour: Colour, text: &str) {
        if text.is_empty() {
            return;
        }
        self.mark(Mark::Text { x, y: top + size * ASCENT, size, weight, colour, text: text.to_owned() });
    }

    fn rule(&mut self, y: f32, height: f32, colour: Colour) {
        let (x, width) = (self.left(), self.width);
        self.mark(Mark::Box { x, y, width, height, colour });
    }

    /// Starts a page with letterhead and title.
    fn page(&mut self) -> Result<(), PdfError> {
        if self.pages.len() >= PAGES_MAX {
            return Err(PdfError::TooLong);
        }
        self.pages.push(Page::default());
        let document = self.document;
        let (name_size, small, title_size) = (self.scale.name, self.scale.small, self.scale.title);
        let (left, width) = (self.left(), self.width);
        let first = self.pages.len() == 1;
        let mut y = self.scale.margin * 0.8;
        for line in wrap(&document.letterhead.0, Weight::Bold, name_size, width) {
            self.text(left, y, name_size, Weight::Bold, Colour::Accent, &line);
            y += name_size * LEADING;
        }
        if first {
            for line in &document.letterhead.1 {
                for part in wrap(line, Weight::Regular, small, width) {
                    self.text(left, y, small, Weight::Regular, Colour::Quiet, &part);
                    y += small * LEADING;
                }
            }
        }
        y += 5.0;
        self.rule(y, 1.4, Colour::Accent);
        y += 12.0;
        let mut title_width = width;
        if let Some(mark) = &document.watermark {
            let wide = width_em(mark, Weight::Bold) * self.scale.body + 12.0;
            let (x, height) = (left + width - wide, self.scale.body * LEADING + 4.0);
            self.mark(Mark::Box { x, y, width: wide, height, colour: Colour::Warning });
            self.mark(Mark::Box {
                x: x + 1.0,
                y: y + 1.0,
                width: wide - 2.0,
                height: height - 2.0,
                colour: Colour::Shade,
            });
            self.text(x + 6.0, y + 2.0, self.scale.body, Weight::Bold, Colour::Warning, mark);
            title_width = (width - wide - 10.0).max(60.0);
        }
        let size = if first { title_size } else { self.scale.body };
        for line in wrap(&document.title, Weight::Bold, size, title_width) {
            self.text(left, y, size, Weight::Bold, Colour::Ink, &line);
            y += size * LEADING;
        }
        self.y = y + 8.0;
        Ok(())
    }

    /// Makes sure that `height` fits on the page, else starts the next one.
    fn room(&mut self, height: f32) -> Result<(), PdfError> {
        if self.y + height > self.bottom {
            self.page()?;
        }
        Ok(())
    }

    /// Wrapped text at the cursor, breaking over pages between lines.
    fn lines(
        &mut self,
        indent: f32,
        size: f32,
        weight: Weight,
        colour: Colour,
        text: &str,
    ) -> Result<(), PdfError> {
        for line in wrap(text, weight, size, self.width - indent) {
            self.room(size * LEADING)?;
            let (x, y) = (self.left() + indent, self.y);
            self.text(x, y, size, weight, colour, &line);
            self.y += size * LEADING;
        }
        Ok(())
    }

    fn block(&mut self, block: &Block) -> Result<(), PdfError> {
        let (body, small) = (self.scale.body, self.scale.small);
        match block {
            Block::Heading(text) => {
                // A heading never stands alone at the foot of a page.
                self.room(body * 5.0)?;
                self.y += 6.0;
                self.lines(0.0, body * 1.1, Weight::Bold, Colour::Accent, text)?;
                self.y += 3.0;
            }
            Block::Paragraph(text) => {
                self.lines(0.0, body, Weight::Regular, Colour::Ink, text)?;
                self.y += 6.0;
            }
            Block::Small(text) => {
                self.lines(0.0, small, Weight::Regular, Colour::Quiet, text)?;
                self.y += 4.0;
            }
            Block::Facts(pairs) => self.facts(pairs)?,
            Block::Figure { label, value } => {
                self.room(body * 5.0)?;
                let (left, width, y) = (self.left(), self.width, self.y);
                let size = self.scale.title * 1.3;
                let height = small * LEADING + size * LEADING + 16.0;
                self.mark(Mark::Box { x: left, y, width, height, colour: Colour::Shade });
                self.text(left + 10.0, y + 7.0, small, Weight::Regular, Colour::Quiet, label);
                let top = y + 7.0 + small * LEADING;
                self.text(left + 10.0, top, size, Weight::Bold, Colour::Ink, value);
                self.y += height + 10.0;
            }
            Block::Item { lead, rest, details } => self.item(lead, rest, details)?,
            Block::Table(table) => self.table(table)?,
            Block::Code { data, caption } => self.code(data, caption)?,
            Block::Signature { label, name } => {
                self.room(body * 6.0)?;
                self.y += body * 3.2;
                let (left, y, width) = (self.left(), self.y, (self.width * 0.55).min(240.0));
                self.mark(Mark::Box { x: left, y, width, height: 0.8, colour: Colour::Ink });
                self.y += 3.0;
                self.lines(0.0, body, Weight::Bold, Colour::Ink, name)?;
                self.lines(0.0, small, Weight::Regular, Colour::Quiet, label)?;
                self.y += 6.0;
            }
            Block::Space => self.y += body,
        }
        Ok(())
    }

    fn facts(&mut self, pairs: &[(String, String)]) -> Result<(), PdfError> {
        let (body, small, gap) = (self.scale.body, self.scale.small, 16.0);
        let half = (self.width - gap) / 2.0;
        for row in pairs.chunks(2) {
            let cells: Vec<(&str, Vec<String>)> = row
                .iter()
                .map(|(label, value)| (label.as_str(), wrap(value, Weight::Regular, body, half)))
                .collect();
            let tallest = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(1) as f32;
            let height = small * LEADING + tallest * body * LEADING + 4.0;
            self.room(height)?;
            for (index, (label, lines)) in cells.iter().enumerate() {
                let x = self.left() + index as f32 * (half + gap);
                let y = self.y;
                self.text(x, y, small, Weight::Regular, Colour::Quiet, label);
                for (number, line) in lines.iter().enumerate() {
                    let top = y + small * LEADING + number as f32 * body * LEADING;
                    self.text(x, top, body, Weight::Regular, Colour::Ink, line);
                }
            }
            self.y += height;
        }
        self.y += 6.0;
        Ok(())
    }

    fn item(&mut self, lead: &str, rest: &str, details: &[String]) -> Result<(), PdfError> {
        let (body, small, indent) = (self.scale.body, self.scale.small, self.scale.body * 2.2);
        self.items += 1;
        self.room(body * LEADING * 2.0 + small * LEADING * details.len().min(4) as f32)?;
        let (x, y, number) = (self.left(), self.y, format!("{}.", self.items));
        self.text(x, y, body, Weight::Bold, Colour::Accent, &number);
        let lead_width = width_em(lead, Weight::Bold) * body;
        let rest_width = width_em(rest, Weight::Regular) * body;
        if rest.is_empty() || lead_width + 5.0 + rest_width > self.width - indent {
            self.lines(indent, body, Weight::Bold, Colour::Ink, lead)?;
            if !rest.is_empty() {
                self.lines(indent, body, Weight::Regular, Colour::Ink, rest)?;
            }
        } else {
            self.text(x + indent, y, body, Weight::Bold, Colour::Ink, lead);
            self.text(x + indent + lead_width + 5.0, y, body, Weight::Regular, Colour::Ink, rest);
            self.y += body * LEADING;
        }
        for detail in details.iter().filter(|detail| !detail.is_empty()) {
            self.lines(indent, small * 1.06, Weight::Regular, Colour::Quiet, detail)?;
        }
        self.y += 6.0;
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), PdfError> {
        let (body, small) = (self.scale.body, self.scale.small);
        let shares: f32 = table.columns.iter().map(|column| f32::from(column.share.max(1))).sum();
        let widths: Vec<f32> =
            table.columns.iter().map(|column| f32::from(column.share.max(1)) / shares * self.width).collect();
        let titles: Vec<String> = table.columns.iter().map(|column| column.title.clone()).collect();
        self.room(body * LEADING * 3.0)?;
        self.row(table, &widths, &titles, small, Weight::Regular, Colour::Quiet)?;
        let y = self.y;
        self.rule(y, 0.8, Colour::Ink);
        self.y += 3.0;
        for row in &table.rows {
            self.row(table, &widths, row, body, Weight::Regular, Colour::Ink)?;
            let y = self.y;
            self.rule(y, 0.5, Colour::Rule);
            self.y += 3.0;
        }
        for row in &table.totals {
            self.row(table, &widths, row, body, Weight::Bold, Colour::Ink)?;
            self.y += 2.0;
        }
        self.y += 8.0;
        Ok(())
    }

    fn row(
        &mut self,
        table: &Table,
        widths: &[f32],
        cells: &[String],
        size: f32,
        weight: Weight,
        colour: Colour,
    ) -> Result<(), PdfError> {
        let padding = 4.0;
        let wrapped: Vec<Vec<String>> = widths
            .iter()
            .enumerate()
            .map(|(index, width)| {
                let cell = cells.get(index).map_or("", String::as_str);
                wrap(cell, weight, size, (width - 2.0 * padding).max(10.0))
            })
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(1) as f32 * size * LEADING + 3.0;
        self.room(height)?;
        let (mut x, y) = (self.left(), self.y);
        for ((column, width), lines) in table.columns.iter().zip(widths).zip(&wrapped) {
            for (number, line) in lines.iter().enumerate() {
                let start = match column.align {
                    Align::Start => x + padding,
                    Align::End => x + width - padding - width_em(line, weight) * size,
                };
                self.text(start, y + number as f32 * size * LEADING, size, weight, colour, line);
            }
            x += width;
        }
        self.y += height;
        Ok(())
    }

    fn code(&mut self, data: &str, caption: &[String]) -> Result<(), PdfError> {
        let code = qrcode::QrCode::with_error_correction_level(data, qrcode::EcLevel::M)
            .map_err(|_| PdfError::CodeTooLong)?;
        let (small, edge) = (self.scale.small, if self.document.size == PageSize::A4 { 96.0 } else { 80.0 });
        self.room(edge + 8.0)?;
        let (x, y, cells_wide) = (self.left(), self.y, code.width());
        let colours = code.to_colors();
        let mut cells = Vec::new();
        for (row, line) in colours.chunks(cells_wide.max(1)).enumerate() {
            let mut column = 0;
            while column < line.len() {
                let length = line[column..].iter().take_while(|c| **c == qrcode::Color::Dark).count();
                if length > 0 {
                    cells.push((column, row, length));
                }
                column += length.max(1);
            }
        }
        self.mark(Mark::Squares { x, y, side: edge / cells_wide.max(1) as f32, cells });
        let mut top = y + 2.0;
        for text in caption {
            for line in wrap(text, Weight::Regular, small, self.width - edge - 14.0) {
                self.text(x + edge + 14.0, top, small, Weight::Regular, Colour::Quiet, &line);
                top += small * LEADING;
            }
            top += 2.0;
        }
        self.y = (y + edge).max(top) + 8.0;
        Ok(())
    }

    fn footers(&mut self) {
        let count = self.pages.len();
        let (small, left, width) = (self.scale.small * 0.94, self.left(), self.width);
        let y = self.bottom + 8.0;
        let footer = self.document.footer.clone();
        for (index, page) in self.pages.iter_mut().enumerate() {
            page.marks.push(Mark::Box { x: left, y, width, height: 0.5, colour: Colour::Rule });
            let number = format!("{} / {count}", index + 1);
            let number_width = width_em(&number, Weight::Regular) * small;
            let mut text = |x: f32, line: f32, text: String| {
                page.marks.push(Mark::Text {
                    x,
                    y: y + 4.0 + small * (ASCENT + line * LEADING),
                    size: small,
                    weight: Weight::Regular,
                    colour: Colour::Quiet,
                    text,
                });
            };
            text(left + width - number_width, 0.0, number);
            let lines = wrap(&footer, Weight::Regular, small, width - number_width - 20.0);
            for (row, line) in lines.into_iter().take(2).enumerate() {
                text(left, row as f32, line);
            }
        }
    }
}
