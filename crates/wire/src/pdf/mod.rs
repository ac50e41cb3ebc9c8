//! Printed papers (prescriptions, receipts, summaries) as PDF.
//!
//! A [Document] is a list of blocks that flow over A4 or A5 pages under a letterhead, with a footer and page
//! numbers. Text of any script that the embedded fonts cover (Latin with the African letters, Greek, Cyrillic,
//! Arabic, Ethiopic, Hebrew, Devanagari, N'Ko, Tifinagh, Adlam) is shaped and ordered; other scripts show a box.
//!
//! **Invariant:** the same document renders to the same bytes; no clock, no randomness.
//!
//! Fonts: subsets of Noto Sans under the SIL Open Font License 1.1, see `fonts/LICENSE-OFL.txt`.

mod emit;
mod layout;
mod shape;

/// Blocks a document may have; more is a mistake of the caller.
pub const BLOCKS_MAX: usize = 2_000;
/// Characters one text may have; the rest is cut off.
pub const TEXT_CHARS_MAX: usize = 20_000;
/// Pages one document may have.
pub const PAGES_MAX: usize = 200;

/// What can go wrong while a paper is made.
#[derive(Debug, thiserror::Error)]
pub enum PdfError {
    /// More than [BLOCKS_MAX] blocks or [PAGES_MAX] pages.
    #[error("the document is too long to print")]
    TooLong,
    /// The text does not fit into a QR code (about 2,300 bytes).
    #[error("the text of the QR code is too long")]
    CodeTooLong,
    /// The PDF writer refused; a fault of this program.
    #[error("PDF writer: {0}")]
    Writer(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageSize {
    A4,
    A5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Align {
    #[default]
    Start,
    /// For amounts; figures of the font have equal widths.
    End,
}

/// One column of a [Table].
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub title: String,
    /// Share of the width, relative to the other columns; at least 1.
    pub share: u16,
    pub align: Align,
}

impl Column {
    pub fn start(title: impl Into<String>, share: u16) -> Column {
        Column { title: title.into(), share, align: Align::Start }
    }
    pub fn end(title: impl Into<String>, share: u16) -> Column {
        Column { title: title.into(), share, align: Align::End }
    }
}

/// Rows of cells; a row shorter than the columns is filled with empty cells, a longer one is cut.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<String>>,
    /// Rows in bold under a rule, e.g. the total.
    pub totals: Vec<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Heading(String),
    Paragraph(String),
    Small(String),
    /// Label and value pairs in two columns.
    Facts(Vec<(String, String)>),
    /// A large figure with its label, e.g. the amount of a receipt.
    Figure {
        label: String,
        value: String,
    },
    /// Numbered; bold lead and the rest of the line, then smaller detail lines.
    Item {
        lead: String,
        rest: String,
        details: Vec<String>,
    },
    Table(Table),
    Code {
        data: String,
        caption: Vec<String>,
    },
    Signature {
        label: String,
        name: String,
    },
    Space,
}

/// A paper to be printed. Blocks appear in the order in which they were added.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    size: PageSize,
    title: String,
    language: String,
    letterhead: (String, Vec<String>),
    watermark: Option<String>,
    footer: String,
    blocks: Vec<Block>,
}

impl Document {
    /// `title` is printed under the letterhead and stored as the title of the file.
    pub fn new(size: PageSize, title: impl Into<String>) -> Document {
        Document {
            size,
            title: title.into(),
            language: "en".into(),
            letterhead: (String::new(), Vec::new()),
            watermark: None,
            footer: String::new(),
            blocks: Vec::new(),
        }
    }
    /// BCP-47 language of the texts, for screen readers.
    pub fn language(mut self, language: impl Into<String>) -> Document {
        self.language = language.into();
        self
    }
    /// Name of the clinic and lines such as address and phone.
    pub fn letterhead(mut self, name: impl Into<String>, lines: Vec<String>) -> Document {
        self.letterhead = (name.into(), lines);
        self
    }
    /// A word that must not be overlooked, e.g. `DRAFT`; printed boxed beside the title on every page.
    pub fn mark(mut self, text: impl Into<String>) -> Document {
        self.watermark = Some(text.into());
        self
    }
    /// Printed small at the foot of every page, beside the page number.
    pub fn footer(mut self, text: impl Into<String>) -> Document {
        self.footer = text.into();
        self
    }
    pub fn heading(self, text: impl Into<String>) -> Document {
        self.block(Block::Heading(text.into()))
    }
    pub fn paragraph(self, text: impl Into<String>) -> Document {
        self.block(Block::Paragraph(text.into()))
    }
    /// Grey small print.
    pub fn small(self, text: impl Into<String>) -> Document {
        self.block(Block::Small(text.into()))
    }
    /// `(label, value)` pairs, two beside each other. Pairs with an empty value are left out.
    pub fn facts(self, pairs: Vec<(String, String)>) -> Document {
        self.block(Block::Facts(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()))
    }
    /// One large value, e.g. `KSh 1,500.00`.
    pub fn figure(self, label: impl Into<String>, value: impl Into<String>) -> Document {
        self.block(Block::Figure { label: label.into(), value: value.into() })
    }
    /// The next numbered item: `lead` in bold, `rest` on the same line, `details` below.
    pub fn item(self, lead: impl Into<String>, rest: impl Into<String>, details: Vec<String>) -> Document {
        self.block(Block::Item { lead: lead.into(), rest: rest.into(), details })
    }
    pub fn table(self, table: Table) -> Document {
        self.block(Block::Table(table))
    }
    /// A QR code of `data` with lines of text beside it.
    pub fn code(self, data: impl Into<String>, caption: Vec<String>) -> Document {
        self.block(Block::Code { data: data.into(), caption })
    }
    /// A line to sign on, with the printed name under it.
    pub fn signature(self, label: impl Into<String>, name: impl Into<String>) -> Document {
        self.block(Block::Signature { label: label.into(), name: name.into() })
    }
    pub fn space(self) -> Document {
        self.block(Block::Space)
    }

    fn block(mut self, block: Block) -> Document {
        if self.blocks.len() <= BLOCKS_MAX {
            self.blocks.push(block);
        }
        self
    }

    /// The PDF file. Errors: [PdfError].
    pub fn render(&self) -> Result<Vec<u8>, PdfError> {
        let pages = layout::pages(self)?;
        emit::emit(self, &pages)
    }
}

#[cfg(test)]
mod tests;
