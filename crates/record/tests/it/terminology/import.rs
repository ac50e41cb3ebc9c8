//! Imports: every format, versions side by side, what goes wrong.

use super::release;
use super::{check, codes, expand, load};
use crate::each_engine;
use record::terminology::Lookup;
use serde_json::json;
use std::io::Write as _;

const ICD10: &str = "http://hl7.org/fhir/sid/icd-10";

#[tokio::test]
async fn versions_stand_side_by_side() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let table = |version: &str, title: &str| {
            let path = folder.path().join(format!("t{version}.csv"));
            std::fs::write(&path, format!("code,display,parent\nX1,Moon diseases,\nX1.1,\"{title}\",X1\n"))
                .unwrap();
            path
        };
        let url = "http://example.org/moon";
        let (one, two) = (table("1", "Moon fever"), table("2", "Moon fever, new name"));
        let no_system = load(&bench, &one, |_| {}).await.unwrap_err().to_string();
        assert!(no_system.contains("--system"), "{no_system}");
        let request = |version: &'static str| {
            move |r: &mut record::terminology::import::Request| {
                r.system = Some(url.into());
                r.version = Some(version.into());
            }
        };
        let dry = load(&bench, &one, |r| {
            request("1")(r);
            r.dry_run = true;
        });
        assert_eq!(dry.await.unwrap()[0].concepts, 2);
        assert!(bench.record.loaded_terminologies(&bench.system()).await.unwrap().is_empty());
        load(&bench, &one, request("1")).await.unwrap();
        load(&bench, &two, request("2")).await.unwrap();
        let display = |version: Option<&str>| {
            let request = Lookup {
                system: url.into(),
                code: "X1.1".into(),
                version: version.map(str::to_owned),
                ..Lookup::default()
            };
            let (record, doctor) = (bench.record.clone(), bench.doctor());
            async move { record.lookup(&doctor, request).await.unwrap().display }
        };
        assert_eq!(display(None).await, "Moon fever", "the first stays the one in use");
        assert_eq!(display(Some("2")).await, "Moon fever, new name");
        bench.record.use_terminology(&bench.system(), url, "2").await.unwrap();
        assert_eq!(display(None).await, "Moon fever, new name");
        assert_eq!(display(Some("1")).await, "Moon fever");
        // The same version again takes the place of the old one, and nothing is left behind.
        std::fs::write(&one, "code,display\nX1.1,Moon fever corrected\n").unwrap();
        load(&bench, &one, request("1")).await.unwrap();
        assert_eq!(display(Some("1")).await, "Moon fever corrected");
        assert_eq!(display(None).await, "Moon fever, new name");
        assert!(bench.record.remove_terminology(&bench.system(), url, None).await.is_err(), "there are two");
        bench.record.remove_terminology(&bench.system(), url, Some("2")).await.unwrap();
        assert_eq!(display(None).await, "Moon fever corrected", "the other becomes the one in use");
        let left = bench.record.loaded_terminologies(&bench.system()).await.unwrap();
        assert_eq!(left.iter().map(|e| e.version.as_str()).collect::<Vec<_>>(), ["1"]);
        let doctor = bench.record.loaded_terminologies(&bench.doctor()).await;
        assert!(matches!(doctor, Err(record::Error::Denied)));
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_changes_nothing() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("release");
        release::write(&path);
        let file = path.join("Snapshot/Terminology/sct2_Description_Snapshot-en_INT_20990131.txt");
        let mut text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().count() + 1;
        text.push_str("too\tshort\r\n");
        std::fs::write(&file, &text).unwrap();
        let error = load(&bench, &path, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains(&format!("line {lines}: 2 fields where the header has 9")), "{error}");
        assert!(bench.record.loaded_terminologies(&bench.system()).await.unwrap().is_empty());
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(path.join("Snapshot/Terminology/sct2_Description_Snapshot-es_INT_20990131.txt"))
            .unwrap();
        let error = load(&bench, &path, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains("sct2_Description_"), "{error}");
        let nothing = load(&bench, &folder.path().join("nowhere"), |_| {}).await.unwrap_err().to_string();
        assert!(nothing.contains("nowhere"), "{nothing}");
        let odd = folder.path().join("odd.txt");
        std::fs::write(&odd, "hello").unwrap();
        let error = load(&bench, &odd, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains("no terminology that is known"), "{error}");
        // What the broken import had written is gone with the next one.
        let left = bench
            .record
            .store()
            .read(|tx| tx.one("SELECT count(*) FROM terminology_concept", &[], |row| row.int(0)));
        assert_eq!(left.await.unwrap(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn the_other_published_formats() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let icd = folder.path().join("icd102099");
        std::fs::create_dir(&icd).unwrap();
        std::fs::write(icd.join("icd102099syst_chapters.txt"), "01;Moon diseases\n").unwrap();
        std::fs::write(icd.join("icd102099syst_groups.txt"), "A00;A09;01;Moon fevers\n").unwrap();
        std::fs::write(
            icd.join("icd102099syst_codes.txt"),
            "3;N;X;01;A00;A00.-;A00;A00;Moon fever;;\n4;T;X;01;A00;A00.0;A00.0;A000;Full moon fever;;\n",
        )
        .unwrap();
        let loaded = load(&bench, &icd, |_| {}).await.unwrap();
        assert_eq!((loaded[0].url.as_str(), loaded[0].version.as_str(), loaded[0].concepts), (ICD10, "2099", 4));
        let below = bench.record.hierarchy(&bench.doctor(), ICD10, "01", false, 100).await.unwrap();
        assert_eq!(below.iter().map(|c| c.code.as_str()).collect::<Vec<_>>(), ["01", "A00-A09", "A00", "A00.0"]);

        let eleven = folder.path().join("LinearizationMiniOutput-MMS-en.txt");
        std::fs::write(
            &eleven,
            "Foundation URI\tCode\tBlockId\tTitle\tClassKind\tChapterNo\tVersion:2099 Jan 21 - 22:30 UTC\n\
             u1\t\t\tMoon diseases\tchapter\t01\t\nu2\t1A00\t\t- Moon fever\tcategory\t01\t\n",
        )
        .unwrap();
        let loaded = load(&bench, &eleven, |_| {}).await.unwrap();
        assert_eq!((loaded[0].version.as_str(), loaded[0].concepts), ("2099-01", 2));

        let loinc = folder.path().join("Loinc_9.99");
        std::fs::create_dir_all(loinc.join("LoincTable")).unwrap();
        std::fs::create_dir_all(loinc.join("AccessoryFiles")).unwrap();
        let part = |name: &str, text: &str| std::fs::write(loinc.join(name), text).unwrap();
        part(
            "LoincTable/Loinc.csv",
            "LOINC_NUM,COMPONENT,CLASS,STATUS,LONG_COMMON_NAME\n99999-5,Moon dust,CHEM,ACTIVE,Moon dust [Mass]\n",
        );
        part("AccessoryFiles/ComponentHierarchyBySystem.csv", "IMMEDIATE_PARENT,CODE,CODE_TEXT\n,LP1-1,Dusts\nLP1-1,99999-5,x\n");
        part("AccessoryFiles/AnswerList.csv", "AnswerListId,AnswerListName,AnswerStringId,DisplayText\nLL1-1,Phases,LA1-1,Full moon\n");
        part("AccessoryFiles/LoincPartLink_Primary.csv",
            "LoincNumber,PartNumber,PartName,Property\n99999-5,LP1-1,Dusts,http://loinc.org/property/COMPONENT\n");
        let loaded = load(&bench, &loinc, |_| {}).await.unwrap();
        assert_eq!((loaded[0].version.as_str(), loaded[0].concepts), ("9.99", 4));
        for (url, expected) in [
            ("http://loinc.org/vs/LL1-1", &["LA1-1"][..]),
            ("http://loinc.org/vs/LP1-1", &["LP1-1", "99999-5"]),
        ] {
            assert_eq!(codes(&expand(&bench, url, |_| {}).await.unwrap().contains), expected, "{url}");
        }
        let filtered = super::expand_value(
            &bench,
            json!({"resourceType": "ValueSet", "status": "active", "compose": {"include": [{"system": "http://loinc.org",
                "filter": [{"property": "CLASS", "op": "=", "value": "CHEM"}, {"property": "COMPONENT", "op": "=", "value": "LP1-1"}]}]}}),
            |_| {},
        );
        assert_eq!(codes(&filtered.await.unwrap().contains), ["99999-5"]);

        let claml = folder.path().join("moon.xml");
        std::fs::write(
            &claml,
            "<ClaML><Title name=\"ICD-10\" version=\"2098\">x</Title><Class code=\"B\" kind=\"chapter\"><Rubric kind=\"preferred\"><Label xml:lang=\"en\">Sun</Label></Rubric></Class>\
             <Class code=\"B1\" kind=\"category\"><SuperClass code=\"B\"/><Rubric kind=\"preferred\"><Label xml:lang=\"en\">Sun burn</Label></Rubric></Class></ClaML>",
        )
        .unwrap();
        let loaded = load(&bench, &claml, |_| {}).await.unwrap();
        assert_eq!((loaded[0].url.as_str(), loaded[0].version.as_str(), loaded[0].concepts), (ICD10, "2098", 2));
    })
    .await;
}

#[tokio::test]
async fn fhir_files_and_packages() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let stones: Vec<serde_json::Value> =
            (0..3_500).map(|n| json!({"code": format!("s{n}"), "display": format!("Stone {n}")})).collect();
        let large = json!({"resourceType": "CodeSystem", "url": "http://example.org/stones", "version": "3", "name": "Stones",
            "status": "active", "content": "complete", "concept": [{"code": "all", "display": "Any stone", "concept": stones}]});
        let small = json!({"resourceType": "CodeSystem", "url": "http://example.org/tiny", "name": "Tiny",
            "status": "active", "content": "complete", "concept": [{"code": "a", "display": "A"}]});
        let value_set = json!({"resourceType": "ValueSet", "url": "http://example.org/vs", "name": "Both", "status": "active",
            "compose": {"include": [{"system": "http://example.org/tiny"},
                {"system": "http://example.org/stones", "concept": [{"code": "s7"}]}]}});
        let broken = json!({"resourceType": "ValueSet", "url": "http://example.org/broken", "status": "perhaps"});
        let bundle = json!({"resourceType": "Bundle", "type": "collection",
            "entry": [{"resource": small}, {"resource": {"resourceType": "Basic", "code": {"text": "x"}}}]});
        let mut tar = Vec::new();
        for (name, text) in [
            ("package/package.json", "{\"name\": \"moon\"}".to_owned()),
            ("package/.index.json", "{}".to_owned()),
            ("package/CodeSystem-stones.json", large.to_string()),
            ("package/Bundle-tiny.json", bundle.to_string()),
            ("package/ValueSet-both.json", value_set.to_string()),
            ("package/ValueSet-broken.json", broken.to_string()),
            ("package/example/ValueSet-not.json", broken.to_string()),
        ] {
            let mut header = [0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
            header[156] = b'0';
            tar.extend_from_slice(&header);
            tar.extend_from_slice(text.as_bytes());
            tar.resize(tar.len().div_ceil(512) * 512, 0);
        }
        tar.resize(tar.len() + 1024, 0);
        let path = folder.path().join("moon.tgz");
        let mut packed =
            flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
        packed.write_all(&tar).unwrap();
        packed.finish().unwrap();
        let loaded = load(&bench, &path, |_| {}).await.unwrap();
        assert_eq!((loaded[0].url.as_str(), loaded[0].concepts), ("http://example.org/stones", 3_501));
        assert_eq!((loaded[1].resources, loaded[1].refused.len()), (2, 1), "{:?}", loaded[1].refused);
        assert!(loaded[1].refused[0].contains("http://example.org/broken"), "{:?}", loaded[1].refused);
        let again = load(&bench, &path, |_| {}).await.unwrap();
        assert_eq!((again[1].resources, again[1].unchanged), (0, 2));
        let found = expand(&bench, "http://example.org/vs", |_| {}).await.unwrap();
        assert_eq!(codes(&found.contains), ["a", "s7"]);
        assert!(check(&bench, Some("http://example.org/vs"), "http://example.org/stones", "s7", Some("Stone 7")).await.result);
        let below = bench.record.hierarchy(&bench.doctor(), "http://example.org/stones", "all", false, 5_000).await;
        assert_eq!(below.unwrap().len(), 3_501);
        let whole = json!({"resourceType": "ValueSet", "status": "active",
            "compose": {"include": [{"system": "http://example.org/stones"}]}});
        let page = super::expand_value(&bench, whole, |e| {
            e.offset = 3_400;
            e.count = Some(200);
        });
        let page = page.await.unwrap();
        assert_eq!((page.total, page.contains.len()), (3_501, 101));
    })
    .await;
}
