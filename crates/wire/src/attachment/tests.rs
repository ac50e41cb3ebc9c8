//! Files as they are sent, and files as they are forged.

use super::*;

fn png(width: u32, height: u32, extra: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        bytes.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(&[0; 4]);
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&size[..], &[8, 2, 0, 0, 0]].concat());
    extra.iter().for_each(|(name, data)| chunk(name, data));
    chunk(b"IDAT", b"x");
    chunk(b"IEND", b"");
    bytes
}

fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8];
    let mut segment = |marker: u8, data: &[u8]| {
        bytes.extend_from_slice(&[0xff, marker]);
        bytes.extend_from_slice(&u16::try_from(data.len() + 2).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
    };
    segment(0xe0, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0");
    segments.iter().for_each(|(marker, data)| segment(*marker, data));
    segment(0xc0, &[8, 0, 16, 0, 32, 1, 1, 0x11, 0]);
    segment(0xda, &[1, 1, 0, 0, 63, 0]);
    bytes.extend_from_slice(b"scan\xff\0data\xff\xd0more\xff\xd9");
    bytes
}

/// EXIF with a place, a device and an orientation, little-endian.
fn exif(orientation: u8) -> Vec<u8> {
    let mut bytes = b"Exif\0\0II*\0\x08\0\0\0\x03\0".to_vec();
    bytes.extend_from_slice(b"\x0f\x01\x02\0\x04\0\0\0ACME");
    bytes.extend_from_slice(&[0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0]);
    bytes.extend_from_slice(b"\x25\x88\x04\0\x01\0\0\0\x32\0\0\0");
    bytes.extend_from_slice(b"\0\0\0\0GPS-secret-place");
    bytes
}

fn gif() -> Vec<u8> {
    b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;".to_vec()
}

/// An archive with these names and told sizes; nothing is packed.
fn zip(entries: &[(&str, u32)]) -> Vec<u8> {
    let (mut bytes, mut list) = (Vec::new(), Vec::new());
    for (name, size) in entries {
        let at = u32::try_from(bytes.len()).unwrap();
        let length = u16::try_from(name.len()).unwrap().to_le_bytes();
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes.extend_from_slice(&[&size.to_le_bytes()[..], &length, &[0, 0], name.as_bytes()].concat());
        list.extend_from_slice(b"PK\x01\x02\x14\0\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0");
        list.extend_from_slice(
            &[&size.to_le_bytes()[..], &length, &[0; 12], &at.to_le_bytes(), name.as_bytes()].concat(),
        );
    }
    let start = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let count = u16::try_from(entries.len()).unwrap().to_le_bytes();
    let size = u32::try_from(list.len()).unwrap().to_le_bytes();
    bytes.extend_from_slice(&list);
    bytes.extend_from_slice(&[b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &start, &[0, 0]].concat());
    bytes
}

#[test]
fn what_is_what_it_says_is_taken() {
    let with = |head: &[u8]| [head, &[0; 200]].concat();
    let dicom = [&[0; 128][..], b"DICM", &[0; 40]].concat();
    let bmp = [b"BM\x1a\0\0\0".as_slice(), &[0; 20]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("application/pdf", b"%PDF-1.7\n%\xe2\xe3\n1 0 obj".to_vec()),
        ("image/png", png(4, 3, &[])),
        ("IMAGE/PNG; name=x", png(4, 3, &[(b"tEXt", b"a\0b")])),
        ("image/jpeg", jpeg(&[])),
        ("image/jpg", jpeg(&[(0xe1, &exif(6)), (0xfe, b"comment")])),
        ("image/gif", gif()),
        ("image/webp", with(b"RIFF\x10\0\0\0WEBPVP8 ")),
        ("image/tiff", with(b"II*\0")),
        ("image/bmp", bmp),
        ("image/heic", with(b"\0\0\0\x18ftypheic")),
        ("video/mp4", with(b"\0\0\0\x18ftypisom")),
        ("audio/mp4", with(b"\0\0\0\x18ftypM4A ")),
        ("audio/webm", with(b"\x1aE\xdf\xa3")),
        ("audio/ogg; codecs=opus", with(b"OggS")),
        ("audio/mpeg", with(b"ID3\x04")),
        ("audio/wav", with(b"RIFF\x10\0\0\0WAVEfmt ")),
        ("audio/amr", with(b"#!AMR\n")),
        ("application/zip", zip(&[("a.txt", 10)])),
        (
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            zip(&[("[Content_Types].xml", 10)]),
        ),
        ("application/dicom", dicom),
        ("application/msword", with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")),
        ("text/rtf", b"{\\rtf1 x}".to_vec()),
        ("text/plain; charset=utf-8", "Mgonjwa ana homa. ሰላም <3".into()),
        ("text/plain", b"caf\xe9".to_vec()),
        ("text/csv", b"a,b\n1,2\n".to_vec()),
        ("application/json", b"{\"a\": 1}".to_vec()),
        ("application/hl7-v2+er7", b"MSH|^~\\&|A|B\rPID|1".to_vec()),
        ("text/html", b"<!doctype html><p>Report".to_vec()),
        ("image/svg+xml", b"<?xml version='1.0'?><svg/>".to_vec()),
        ("application/xml", b"<ClinicalDocument/>".to_vec()),
        ("text/cda+xml", b"<ClinicalDocument/>".to_vec()),
        ("application/octet-stream", b"\x01\x02\x03".to_vec()),
        ("application/octet-stream", png(1, 1, &[])),
        ("application/x-edf", b"0       X".to_vec()),
        ("text/plain", Vec::new()),
    ];
    for (declared, bytes) in &cases {
        assert_eq!(check(declared, bytes), Ok(()), "{declared}");
    }
}

#[test]
fn what_is_something_else_is_refused() {
    let html = b"<html><script>alert(1)</script>".to_vec();
    let elf = b"\x7fELF\x02\x01".to_vec();
    let exe = b"MZ\x90\0\x03\0".to_vec();
    let other = |found| move |declared: &str| Refusal::OtherType { declared: declared.to_owned(), found };
    let page = other("a page or XML");
    for (declared, bytes, expected) in [
        ("image/png", html.clone(), page("image/png")),
        ("text/plain", html.clone(), page("text/plain")),
        ("text/plain", b"\xef\xbb\xbf \n<svg onload=x>".to_vec(), page("text/plain")),
        ("text/csv", b"<!-- --><html>".to_vec(), page("text/csv")),
        ("application/octet-stream", html.clone(), page("application/octet-stream")),
        ("application/pdf", png(1, 1, &[]), other("a PNG picture")("application/pdf")),
        ("image/jpeg", png(1, 1, &[]), other("a PNG picture")("image/jpeg")),
        ("image/png", b"plain".to_vec(), other("something else")("image/png")),
        ("text/plain", b"a\0b".to_vec(), other("binary data")("text/plain")),
        ("application/json", b"%PDF-1.7".to_vec(), other("a PDF")("application/json")),
        ("image/svg+xml", gif(), other("a GIF picture")("image/svg+xml")),
        ("text/plain", elf.clone(), Refusal::Program),
        ("application/octet-stream", elf.clone(), Refusal::Program),
        ("application/x-anything", exe.clone(), Refusal::Program),
        ("image/png", exe, Refusal::Program),
        ("text/x-shellscript", b"#!/bin/sh\nrm -rf /".to_vec(), Refusal::Program),
        ("application/java-archive", b"\xca\xfe\xba\xbe\0\0".to_vec(), Refusal::Program),
        ("", png(1, 1, &[]), Refusal::NoType),
        ("png", png(1, 1, &[]), Refusal::NoType),
        ("image/../../etc", png(1, 1, &[]), Refusal::NoType),
        ("text/html\r\nset-cookie: x", html, Refusal::NoType),
    ] {
        assert_eq!(check(declared, &bytes), Err(expected), "{declared}");
    }
    let test_file = [TEST_FILE.0, TEST_FILE.1].concat();
    assert_eq!(test_file.len(), 68);
    for declared in ["text/plain", "application/octet-stream", "image/png"] {
        assert_eq!(check(declared, &test_file), Err(Refusal::Harmful), "{declared}");
    }
}

#[test]
fn two_things_at_once_are_refused() {
    let archive = zip(&[("a.class", 10)]);
    let is_polyglot =
        |declared: &str, bytes: &[u8]| matches!(check(declared, bytes), Err(Refusal::Polyglot(_)));
    let picture_and_archive = [jpeg(&[]), archive.clone()].concat();
    let script = b"<ScRiPt>alert(1)</script>";
    for (declared, bytes) in [
        ("image/jpeg", picture_and_archive),
        ("image/gif", [gif(), archive.clone()].concat()),
        ("image/png", [png(1, 1, &[]), archive.clone()].concat()),
        ("application/pdf", [b"%PDF-1.4\n".as_slice(), &archive].concat()),
        ("image/jpeg", jpeg(&[(0xfe, script)])),
        ("image/png", png(1, 1, &[(b"tEXt", script)])),
        ("image/gif", [b"GIF89a/*".as_slice(), b"<script>*/=1//"].concat()),
        ("image/jpeg", jpeg(&[(0xfe, b"%PDF-1.4 1 0 obj")])),
        ("audio/mpeg", [b"ID3".as_slice(), b"<!DOCTYPE html><html>"].concat()),
        ("image/png", [png(1, 1, &[]), b"trailing".to_vec()].concat()),
        ("image/gif", [gif(), b"x".to_vec()].concat()),
        ("application/zip", [archive.clone(), b"x".to_vec()].concat()),
        ("application/zip", [b"PK\x03\x04".as_slice(), &[0; 100]].concat()),
    ] {
        assert!(is_polyglot(declared, &bytes), "{declared}: {:?}", check(declared, &bytes));
    }
}

#[test]
fn what_unpacks_to_far_more_is_refused() {
    let names: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let many: Vec<(&str, u32)> = names.iter().map(|n| (n.as_str(), 1)).collect();
    assert_eq!(check("application/zip", &zip(&many)), Err(Refusal::Bomb));
    assert_eq!(check("application/zip", &zip(&[("a", 1 << 30), ("b", 1)])), Err(Refusal::Bomb));
    assert_eq!(check("application/zip", &zip(&[("a", u32::MAX)])), Err(Refusal::Bomb));
    assert_eq!(check("application/zip", &zip(&[("a", 1 << 20)])), Err(Refusal::Bomb), "a thousand to one");
    // Nothing is unpacked, so names reach no disk.
    assert_eq!(check("application/zip", &zip(&[("../../etc/passwd", 10), ("/x", 10)])), Ok(()));
    assert_eq!(check("image/png", &png(60_000, 60_000, &[])), Err(Refusal::Picture));
    assert_eq!(check("image/png", &png(0, 1, &[])), Err(Refusal::Picture));
    assert_eq!(check("image/png", &png(4, 4, &[])[..30]), Err(Refusal::Picture));
    assert_eq!(check("image/jpeg", &jpeg(&[])[..40]), Err(Refusal::Picture));
}

#[test]
fn pictures_lose_what_they_tell_and_keep_how_they_are_turned() {
    let picture =
        jpeg(&[(0xe1, &exif(6)), (0xe1, b"http://ns.adobe.com/xap/1.0/\0secret"), (0xfe, b"secret")]);
    let plain = without_metadata(&picture);
    assert_eq!(check("image/jpeg", &plain), Ok(()));
    let holds = |bytes: &[u8], what: &[u8]| contains(bytes, what);
    assert!(holds(&picture, b"secret") && holds(&picture, b"ACME"));
    assert!(!holds(&plain, b"secret") && !holds(&plain, b"ACME"));
    assert!(holds(&plain, b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"));
    assert!(holds(&plain, b"scan\xff\0data\xff\xd0more\xff\xd9") && holds(&plain, b"JFIF"));
    assert_eq!(without_metadata(&plain), plain, "doing it again changes nothing");
    assert!(!holds(&without_metadata(&jpeg(&[(0xe1, &exif(1))])), b"Exif"), "upright needs no word");

    let picture = png(4, 3, &[(b"eXIf", b"secret"), (b"iTXt", b"secret"), (b"gAMA", b"\0\0\xb1\x8f")]);
    let plain = without_metadata(&picture);
    assert!(!holds(&plain, b"secret") && holds(&plain, b"gAMA"));
    assert_eq!(check("image/png", &plain), Ok(()));
    for other in [b"%PDF-1.7".to_vec(), b"text".to_vec(), Vec::new(), b"\xff\xd8\xff broken".to_vec()] {
        assert_eq!(without_metadata(&other), other);
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(head in 0usize..24, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let heads: [Vec<u8>; 6] = [png(1, 1, &[]), jpeg(&[(0xe1, &exif(3))]), gif(), zip(&[("a", 1)]), b"%PDF-".to_vec(), b"BM".to_vec()];
        let head = &heads[head % heads.len()];
        for cut in [head.len(), head.len() / 2, head.len() / 3] {
            let file = [&head[..cut], &bytes[..]].concat();
            for declared in ["image/png", "image/jpeg", "image/gif", "application/zip", "text/plain"] {
                let _ = check(declared, &file);
            }
            let _ = without_metadata(&file);
        }
    }
}
