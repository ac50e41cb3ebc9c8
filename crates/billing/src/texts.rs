//! What billing says to patients, by language. No clinical content: an SMS is read by whoever holds the phone.

/// The SMS after a payment.
pub fn paid(language: &str, clinic: &str, amount: &str, receipt: &str) -> String {
    match language {
        "sw" => {
            format!("{clinic}: Tumepokea malipo yako ya {amount}. Namba ya stakabadhi {receipt}. Asante.")
        }
        "fr" => format!("{clinic} : paiement de {amount} reçu. Reçu {receipt}. Merci."),
        _ => format!("{clinic}: We received your payment of {amount}. Receipt {receipt}. Thank you."),
    }
}

/// Words of the printed receipt.
pub struct Receipt {
    pub title: &'static str,
    pub number: &'static str,
    pub date: &'static str,
    pub patient: &'static str,
    pub invoice: &'static str,
    pub method: &'static str,
    pub paid: &'static str,
    pub service: &'static str,
    pub amount: &'static str,
    pub total: &'static str,
    pub due: &'static str,
    pub cash: &'static str,
    /// In the place of a service that the reader may not see.
    pub hidden: &'static str,
    pub thanks: &'static str,
}

pub fn receipt(language: &str) -> Receipt {
    match language {
        "sw" => Receipt {
            title: "Stakabadhi",
            number: "Namba ya stakabadhi",
            date: "Tarehe",
            patient: "Mgonjwa",
            invoice: "Ankara",
            method: "Njia ya malipo",
            paid: "Kiasi kilicholipwa",
            service: "Huduma",
            amount: "Kiasi",
            total: "Jumla",
            due: "Kinachobaki",
            cash: "Taslimu",
            hidden: "Imefichwa",
            thanks: "Asante kwa malipo yako.",
        },
        "fr" => Receipt {
            title: "Reçu",
            number: "Numéro du reçu",
            date: "Date",
            patient: "Patient",
            invoice: "Facture",
            method: "Moyen de paiement",
            paid: "Montant payé",
            service: "Prestation",
            amount: "Montant",
            total: "Total",
            due: "Reste à payer",
            cash: "Espèces",
            hidden: "Masqué",
            thanks: "Merci de votre paiement.",
        },
        _ => Receipt {
            title: "Receipt",
            number: "Receipt number",
            date: "Date",
            patient: "Patient",
            invoice: "Invoice",
            method: "Paid by",
            paid: "Amount paid",
            service: "Service",
            amount: "Amount",
            total: "Total",
            due: "Still due",
            cash: "Cash",
            hidden: "Hidden",
            thanks: "Thank you for your payment.",
        },
    }
}
