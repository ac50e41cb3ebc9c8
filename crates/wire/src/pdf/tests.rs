use super::shape::{self, Weight};
use super::*;

fn sample(size: PageSize) -> Document {
    Document::new(size, "Prescription")
        .letterhead("Uzima Clinic", vec!["Ngong Road, Nairobi".into(), "+254 20 000 0000".into()])
        .facts(vec![
            ("Patient".into(), "Wanjikũ Ŋamâ Ɛbo, አበበ ቢቂላ, محمد علي, ⴰⵎⴰⵣⵉⵖ".into()),
            ("Born".into(), "12 Mar 1990 (36 y)".into()),
            ("Nothing".into(), String::new()),
        ])
        .item("amoxicillin capsule", "– DOSE 500 mg – by mouth", vec!["Take with food".into()])
        .item(
            "paracetamol tablet",
            "– DOSE 1 g – by mouth – three times daily – for 5 days, with much water",
            vec![],
        )
        .table(Table {
            columns: vec![Column::start("What", 3), Column::end("Amount", 1)],
            rows: vec![vec!["Video visit".into(), "1,500.00".into()]],
            totals: vec![vec!["Total".into(), "1,500.00".into()]],
        })
        .figure("Paid", "KSh 1,500.00")
        .code("https://example.org/verify/abcdef", vec!["Scan to check".into()])
        .signature("Prescriber", "Dr Otieno")
        .footer("Printed by Uzima")
}

#[test]
fn papers_are_pdf_and_the_same_each_time() {
    for size in [PageSize::A4, PageSize::A5] {
        let bytes = sample(size).render().unwrap();
        assert!(bytes.starts_with(b"%PDF-"), "{size:?}");
        assert_eq!(bytes, sample(size).render().unwrap());
    }
}

#[test]
fn every_font_loads_and_covers_its_script() {
    for (text, font) in [
        ("Ŋamâ ɓɗ", 0),
        ("Ω", 0),
        ("Ж", 0),
        ("محمد", 2),
        ("አበበ", 3),
        ("שלום", 4),
        ("अमित", 5),
        ("ߒߞߏ", 6),
        ("ⴰⵎⴰⵣⵉⵖ", 7),
        ("𞤀𞤣𞤤𞤢𞤥", 8),
    ] {
        let shaped = shape::shape(text, Weight::Regular);
        assert!(shaped.runs.iter().any(|run| run.font == font), "{text}: {:?}", shaped.runs.len());
        assert!(
            shaped.runs.iter().all(|run| run.glyphs.iter().all(|g| g.glyph_id.to_u32() != 0)),
            "{text} has boxes"
        );
    }
}

#[test]
fn mixed_directions_keep_visual_order() {
    let shaped = shape::shape("Dr محمد A", Weight::Regular);
    let order: Vec<&str> = shaped.runs.iter().map(|run| run.text.trim()).collect();
    assert_eq!(order, ["Dr", "محمد", "A"]);
}

#[test]
fn lines_never_exceed_the_width() {
    let text = "one two three Donaudampfschifffahrtsgesellschaftskapitän four\nfive";
    for width in [30.0, 80.0, 200.0] {
        for line in shape::wrap(text, Weight::Regular, 10.0, width) {
            assert!(shape::width_em(&line, Weight::Regular) * 10.0 <= width + 0.5, "{line:?} in {width}");
        }
    }
    assert_eq!(shape::wrap("", Weight::Bold, 10.0, 50.0), [""]);
    let kept = shape::wrap("for 5\u{a0}days", Weight::Regular, 10.0, 40.0);
    assert_eq!(kept, ["for", "5\u{a0}days"], "a number stays with its unit");
}

#[test]
fn long_documents_break_over_pages_and_too_long_ones_are_refused() {
    let mut document = sample(PageSize::A5);
    for _ in 0..60 {
        document = document.item("amoxicillin", "500 mg", vec!["with food".into()]);
    }
    let pages = layout::pages(&document).unwrap();
    assert!((3..20).contains(&pages.len()), "{}", pages.len());
    for _ in 0..BLOCKS_MAX {
        document = document.space();
    }
    assert!(matches!(document.render(), Err(PdfError::TooLong)));
}

#[test]
fn a_code_that_cannot_be_drawn_is_refused() {
    let document = Document::new(PageSize::A5, "x").code("x".repeat(5_000), vec![]);
    assert!(matches!(document.render(), Err(PdfError::CodeTooLong)));
}
