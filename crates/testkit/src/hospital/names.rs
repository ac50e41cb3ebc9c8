//! Kenyan names by community, so that a list of patients looks like a clinic's and search meets real spelling.

/// Given and family names that go together, with the share of the population (per mille) and the languages spoken.
pub struct Community {
    pub weight: u32,
    pub language: &'static str,
    pub women: &'static [&'static str],
    pub men: &'static [&'static str],
    pub families: &'static [&'static str],
}

/// Christian and Muslim first names that cross communities; used for about half of the people.
pub const SHARED_WOMEN: &[&str] = &[
    "Mary", "Grace", "Faith", "Mercy", "Joyce", "Esther", "Ruth", "Lucy", "Jane", "Ann", "Caroline",
    "Beatrice", "Purity", "Sharon", "Winnie", "Irene", "Lilian", "Eunice", "Agnes", "Rose", "Naomi", "Susan",
    "Hellen", "Joan",
];
pub const SHARED_MEN: &[&str] = &[
    "John", "Peter", "James", "Joseph", "David", "Daniel", "Samuel", "Paul", "Stephen", "Brian", "Kevin",
    "Dennis", "Victor", "Collins", "Felix", "George", "Moses", "Elijah", "Isaac", "Charles", "Francis",
    "Anthony", "Eric", "Evans",
];

pub const COMMUNITIES: &[Community] = &[
    Community {
        weight: 170,
        language: "ki",
        women: &[
            "Wanjiku", "Wambui", "Nyambura", "Wairimu", "Njeri", "Wangari", "Muthoni", "Nyokabi", "Wangui",
            "Waithera",
        ],
        men: &[
            "Kamau", "Mwangi", "Njoroge", "Kariuki", "Maina", "Gitau", "Kimani", "Ngugi", "Macharia",
            "Waweru",
        ],
        families: &[
            "Kamau", "Mwangi", "Njoroge", "Kariuki", "Maina", "Gitau", "Kimani", "Ngugi", "Macharia",
            "Waweru", "Ndung'u", "Gathoni", "Mbugua", "Karanja",
        ],
    },
    Community {
        weight: 143,
        language: "luy",
        women: &[
            "Nekesa", "Nafula", "Naliaka", "Khadija", "Nasimiyu", "Ayuma", "Kadenyi", "Nanjala", "Anyango",
        ],
        men: &["Wekesa", "Wafula", "Barasa", "Simiyu", "Mukhwana", "Juma", "Makokha", "Shikuku", "Lumumba"],
        families: &[
            "Wekesa", "Wafula", "Barasa", "Simiyu", "Makokha", "Shikuku", "Wanyonyi", "Wanjala", "Khaemba",
            "Musyoka", "Masinde", "Muliro",
        ],
    },
    Community {
        weight: 134,
        language: "kln",
        women: &[
            "Chebet",
            "Cherono",
            "Jepkosgei",
            "Jeptoo",
            "Chepkoech",
            "Jelagat",
            "Chelimo",
            "Jerotich",
            "Cheptoo",
        ],
        men: &[
            "Kiprono",
            "Kipchoge",
            "Kibet",
            "Kiplagat",
            "Cheruiyot",
            "Kipkemboi",
            "Rotich",
            "Koech",
            "Kiptoo",
        ],
        families: &[
            "Kiprono",
            "Kibet",
            "Kiplagat",
            "Cheruiyot",
            "Rotich",
            "Koech",
            "Kosgei",
            "Langat",
            "Sang",
            "Bett",
            "Korir",
            "Chepkwony",
            "Ruto",
        ],
    },
    Community {
        weight: 107,
        language: "luo",
        women: &[
            "Achieng", "Akinyi", "Atieno", "Adhiambo", "Awuor", "Anyango", "Auma", "Apiyo", "Akoth", "Aoko",
        ],
        men: &[
            "Ochieng", "Otieno", "Odhiambo", "Onyango", "Owino", "Ouma", "Okoth", "Opiyo", "Omondi", "Oduor",
        ],
        families: &[
            "Ochieng", "Otieno", "Odhiambo", "Onyango", "Owino", "Ouma", "Okoth", "Opiyo", "Omondi", "Oduor",
            "Ogola", "Odinga", "Were", "Oloo",
        ],
    },
    Community {
        weight: 98,
        language: "kam",
        women: &["Mwikali", "Ndinda", "Mutheu", "Kanini", "Nduku", "Mumbua", "Syombua", "Kalondu", "Wayua"],
        men: &["Mutua", "Musyoka", "Mutiso", "Kioko", "Muli", "Nzioka", "Kilonzo", "Makau", "Mwendwa"],
        families: &[
            "Mutua", "Musyoka", "Mutiso", "Kioko", "Muli", "Nzioka", "Kilonzo", "Makau", "Mwendwa", "Ndeti",
            "Mulwa", "Ngei",
        ],
    },
    Community {
        weight: 58,
        language: "so",
        women: &[
            "Amina", "Fatuma", "Halima", "Hodan", "Khadija", "Sahra", "Asha", "Nasra", "Ifrah", "Zeinab",
        ],
        men: &["Abdi", "Mohamed", "Hassan", "Ahmed", "Ali", "Yusuf", "Ibrahim", "Abdullahi", "Omar", "Farah"],
        families: &[
            "Abdi",
            "Mohamed",
            "Hassan",
            "Ahmed",
            "Ali",
            "Yusuf",
            "Ibrahim",
            "Abdullahi",
            "Omar",
            "Farah",
            "Warsame",
            "Noor",
            "Hussein",
            "Adan",
        ],
    },
    Community {
        weight: 57,
        language: "guz",
        women: &["Kemunto", "Moraa", "Kerubo", "Nyaboke", "Bosibori", "Kwamboka", "Nyanchama", "Gesare"],
        men: &["Ombati", "Nyakundi", "Onsongo", "Mogaka", "Momanyi", "Ondieki", "Makori", "Nyamweya"],
        families: &[
            "Ombati", "Nyakundi", "Onsongo", "Mogaka", "Momanyi", "Ondieki", "Makori", "Nyamweya", "Moraa",
            "Omwenga", "Bosire", "Ongeri",
        ],
    },
    Community {
        weight: 52,
        language: "sw",
        women: &[
            "Mwanaisha",
            "Zuhura",
            "Mariam",
            "Rehema",
            "Saumu",
            "Bahati",
            "Zainab",
            "Neema",
            "Dhahabu",
            "Kadzo",
        ],
        men: &[
            "Salim", "Rashid", "Juma", "Athman", "Bakari", "Hamisi", "Kazungu", "Katana", "Karisa", "Baraka",
        ],
        families: &[
            "Salim", "Rashid", "Juma", "Athman", "Bakari", "Hamisi", "Kazungu", "Katana", "Karisa", "Charo",
            "Mwinyi", "Shee", "Mbarak",
        ],
    },
    Community {
        weight: 42,
        language: "mer",
        women: &["Kendi", "Makena", "Kinya", "Kathure", "Karimi", "Mukami", "Gacheri", "Nkatha"],
        men: &["Mutuma", "Kirimi", "Muriuki", "Murithi", "Mwenda", "Kimathi", "Gitonga", "Koome"],
        families: &[
            "Mutuma",
            "Kirimi",
            "Muriuki",
            "Murithi",
            "Mwenda",
            "Kimathi",
            "Gitonga",
            "Koome",
            "M'Inoti",
            "M'Imanyara",
            "Kinyua",
        ],
    },
    Community {
        weight: 47,
        language: "mas",
        women: &["Naserian", "Nasieku", "Namunyak", "Sein", "Nashipae", "Lekishon", "Akiru", "Ekai"],
        men: &["Ole Ntimama", "Lemayian", "Sironka", "Kuntai", "Saitoti", "Lokwang", "Ekeno", "Ewoi"],
        families: &[
            "Saitoti",
            "Lemayian",
            "Ntimama",
            "Sironka",
            "Lokwang",
            "Ekuru",
            "Lesuuda",
            "Leshore",
            "Nkaissery",
            "Ekal",
        ],
    },
];

/// County with its largest towns.
pub const COUNTIES: &[(&str, &[&str])] = &[
    (
        "Nairobi",
        &["Kibera", "Kawangware", "Embakasi", "Kasarani", "Mathare", "Dagoretti", "Langata", "Westlands"],
    ),
    ("Kiambu", &["Thika", "Ruiru", "Kikuyu", "Limuru", "Githunguri"]),
    ("Machakos", &["Athi River", "Machakos", "Kangundo", "Tala"]),
    ("Kajiado", &["Ngong", "Kitengela", "Ongata Rongai", "Kajiado"]),
    ("Nakuru", &["Nakuru", "Naivasha", "Gilgil", "Molo"]),
    ("Mombasa", &["Likoni", "Kisauni", "Nyali", "Changamwe"]),
    ("Kisumu", &["Kisumu", "Ahero", "Maseno", "Muhoroni"]),
    ("Kakamega", &["Kakamega", "Mumias", "Butere", "Malava"]),
    ("Uasin Gishu", &["Eldoret", "Turbo", "Burnt Forest"]),
    ("Murang'a", &["Murang'a", "Kenol", "Kangema"]),
    ("Nyeri", &["Nyeri", "Karatina", "Othaya"]),
    ("Meru", &["Meru", "Maua", "Nkubu"]),
    ("Kilifi", &["Malindi", "Kilifi", "Mtwapa"]),
    ("Bungoma", &["Bungoma", "Webuye", "Kimilili"]),
    ("Kisii", &["Kisii", "Ogembo", "Suneka"]),
    ("Garissa", &["Garissa", "Dadaab"]),
    ("Turkana", &["Lodwar", "Kakuma"]),
    ("Kitui", &["Kitui", "Mwingi"]),
    ("Homa Bay", &["Homa Bay", "Mbita", "Oyugis"]),
    ("Siaya", &["Siaya", "Bondo", "Ugunja"]),
];
