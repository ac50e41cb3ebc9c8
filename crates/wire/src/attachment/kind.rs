//! Kinds of files that are told apart.

/// What a file is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pdf,
    Png,
    Jpeg,
    Gif,
    Webp,
    Tiff,
    Bmp,
    Heif,
    Mp4,
    Matroska,
    Ogg,
    Mp3,
    Aac,
    Wav,
    Flac,
    Amr,
    /// Archives and what is made of them: office documents, EPUB.
    Zip,
    Gzip,
    Dicom,
    /// Office documents of before 2007.
    Compound,
    Rtf,
    /// HTML, SVG and other XML.
    Markup,
    /// Any text without a form of its own.
    Text,
    /// Runs on somebody's machine.
    Program,
    Unknown,
}

impl Kind {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Pdf => "a PDF",
            Kind::Png => "a PNG picture",
            Kind::Jpeg => "a JPEG picture",
            Kind::Gif => "a GIF picture",
            Kind::Webp => "a WebP picture",
            Kind::Tiff => "a TIFF picture",
            Kind::Bmp => "a BMP picture",
            Kind::Heif => "a HEIF picture",
            Kind::Mp4 => "an MP4 recording",
            Kind::Matroska => "a WebM recording",
            Kind::Ogg => "an Ogg recording",
            Kind::Mp3 => "an MP3 recording",
            Kind::Aac => "an AAC recording",
            Kind::Wav => "a WAV recording",
            Kind::Flac => "a FLAC recording",
            Kind::Amr => "an AMR recording",
            Kind::Zip => "an archive",
            Kind::Gzip => "a packed file",
            Kind::Dicom => "a DICOM object",
            Kind::Compound => "an old office document",
            Kind::Rtf => "an RTF document",
            Kind::Markup => "a page or XML",
            Kind::Text => "text",
            Kind::Program => "a program",
            Kind::Unknown => "something else",
        }
    }

    /// Whether a browser or a reader would run what is in it.
    pub fn is_active(self) -> bool {
        matches!(self, Kind::Markup | Kind::Program)
    }

    /// Whether nothing of it is meant to be read as text.
    pub fn is_binary(self) -> bool {
        !matches!(self, Kind::Markup | Kind::Text | Kind::Rtf | Kind::Unknown)
    }

    /// What a media type (in lower case, without parameters) promises.
    pub(super) fn declared(essence: &str) -> Kind {
        match essence {
            "application/pdf" | "application/x-pdf" => Kind::Pdf,
            "image/png" | "image/apng" => Kind::Png,
            "image/jpeg" | "image/jpg" | "image/pjpeg" => Kind::Jpeg,
            "image/gif" => Kind::Gif,
            "image/webp" => Kind::Webp,
            "image/tiff" => Kind::Tiff,
            "image/bmp" | "image/x-ms-bmp" => Kind::Bmp,
            "image/heic" | "image/heif" | "image/avif" => Kind::Heif,
            "audio/mp4" | "audio/m4a" | "audio/x-m4a" | "video/mp4" | "video/quicktime" | "audio/3gpp"
            | "video/3gpp" => Kind::Mp4,
            "audio/webm" | "video/webm" | "video/x-matroska" => Kind::Matroska,
            "audio/ogg" | "video/ogg" | "application/ogg" | "audio/opus" => Kind::Ogg,
            "audio/mpeg" | "audio/mp3" => Kind::Mp3,
            "audio/aac" | "audio/aacp" => Kind::Aac,
            "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => Kind::Wav,
            "audio/flac" | "audio/x-flac" => Kind::Flac,
            "audio/amr" => Kind::Amr,
            "application/zip" | "application/x-zip-compressed" | "application/epub+zip" => Kind::Zip,
            "application/gzip" | "application/x-gzip" => Kind::Gzip,
            "application/dicom" => Kind::Dicom,
            "application/msword" | "application/vnd.ms-excel" | "application/vnd.ms-powerpoint" => {
                Kind::Compound
            }
            "application/rtf" | "text/rtf" => Kind::Rtf,
            "text/html" | "application/xhtml+xml" | "image/svg+xml" | "application/xml" | "text/xml" => {
                Kind::Markup
            }
            // The XML of documents, CDA among them.
            _ if essence.ends_with("+xml") => Kind::Markup,
            _ if essence.starts_with("application/vnd.openxmlformats-officedocument.")
                || essence.starts_with("application/vnd.oasis.opendocument.") =>
            {
                Kind::Zip
            }
            "application/json" | "application/ndjson" | "application/fhir+ndjson" | "application/hl7-v2" => {
                Kind::Text
            }
            "application/javascript" | "text/javascript" => Kind::Text,
            _ if essence.starts_with("text/") || essence.ends_with("+json") || essence.ends_with("+er7") => {
                Kind::Text
            }
            _ => Kind::Unknown,
        }
    }
}

/// Types of text in which markup is nothing unusual. (Plain text is not: a page that calls itself plain text is meant for
/// a reader that does not believe it.)
pub(super) fn may_hold_markup(essence: &str) -> bool {
    !matches!(
        essence,
        "text/plain" | "text/csv" | "application/json" | "text/javascript" | "application/javascript"
    )
}

/// The media type in lower case without parameters; `None` for what is none.
pub fn essence(media_type: &str) -> Option<String> {
    let text = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, sub) = text.split_once('/')?;
    let token = |part: &str| {
        !part.is_empty()
            && part.len() <= 100
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
    };
    (token(kind) && token(sub)).then_some(text)
}

/// UTF-8 or a one-byte code, without the bytes that no text has.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !bytes
        .iter()
        .any(|b| *b == 0x7f || (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | 0x1b | 0x1c)))
}

/// By the first bytes. `None`: nothing that is known, text for instance.
pub fn sniff(bytes: &[u8]) -> Option<Kind> {
    let at = |from: usize, what: &[u8]| bytes.get(from..from + what.len()) == Some(what);
    let starts = |what: &[u8]| at(0, what);
    if starts(b"#!AMR") {
        return Some(Kind::Amr);
    }
    if is_program(bytes) {
        return Some(Kind::Program);
    }
    let table: &[(&[u8], Kind)] = &[
        (b"%PDF-", Kind::Pdf),
        (b"\x89PNG\r\n\x1a\n", Kind::Png),
        (b"\xff\xd8\xff", Kind::Jpeg),
        (b"GIF87a", Kind::Gif),
        (b"GIF89a", Kind::Gif),
        (b"II*\0", Kind::Tiff),
        (b"MM\0*", Kind::Tiff),
        (b"\x1aE\xdf\xa3", Kind::Matroska),
        (b"OggS", Kind::Ogg),
        (b"ID3", Kind::Mp3),
        (b"\xff\xf1", Kind::Aac),
        (b"\xff\xf9", Kind::Aac),
        (b"\xff\xfb", Kind::Mp3),
        (b"\xff\xf3", Kind::Mp3),
        (b"\xff\xf2", Kind::Mp3),
        (b"fLaC", Kind::Flac),
        (b"PK\x03\x04", Kind::Zip),
        (b"PK\x05\x06", Kind::Zip),
        (b"\x1f\x8b", Kind::Gzip),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind::Compound),
        (b"{\\rtf", Kind::Rtf),
    ];
    if let Some((_, kind)) = table.iter().find(|(magic, _)| starts(magic)) {
        return Some(*kind);
    }
    if starts(b"RIFF") {
        return match bytes.get(8..12) {
            Some(b"WEBP") => Some(Kind::Webp),
            Some(b"WAVE") => Some(Kind::Wav),
            _ => None,
        };
    }
    if at(4, b"ftyp") {
        let brand = bytes.get(8..12).unwrap_or_default();
        let heif: &[&[u8]] = &[b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis"];
        return Some(if heif.contains(&brand) { Kind::Heif } else { Kind::Mp4 });
    }
    if at(128, b"DICM") {
        return Some(Kind::Dicom);
    }
    // The length of the file is in it: two letters alone begin many a text.
    let length = bytes.get(2..6).and_then(|b| Some(u32::from_le_bytes(b.try_into().ok()?)));
    if starts(b"BM") && length.is_some_and(|n| n as usize == bytes.len()) {
        return Some(Kind::Bmp);
    }
    is_markup(bytes).then_some(Kind::Markup)
}

/// Windows, Linux, macOS and Java programs, shortcuts, scripts that name their interpreter.
fn is_program(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let dos = head.starts_with(b"MZ") && head.contains(&0);
    let magic: &[&[u8]] = &[
        b"\x7fELF",
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"\0asm",
        b"L\0\0\0\x01\x14\x02\0",
        b"MSCF",
        b"#!/",
        b"#! /",
        b"dex\n",
    ];
    dos || magic.iter().any(|m| head.starts_with(m))
}

/// Text whose first sign is that of a tag, a declaration or a comment.
fn is_markup(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let Some(after) = text.strip_prefix(b"<") else { return false };
    after.first().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'!' | b'?' | b'/'))
}
