//! What the domain must know about the house it works for; from the configuration.

use jiff::tz::TimeZone;

#[derive(Debug, Clone)]
pub struct Clinic {
    pub name: String,
    /// Phone that patients may call, as shown.
    pub phone: String,
    /// ISO 4217.
    pub currency: String,
    pub zone: TimeZone,
    /// How browsers reach the product, without a trailing slash.
    pub public_url: String,
}

impl Clinic {
    /// The IANA name of the zone, e.g. `Africa/Nairobi`.
    pub fn zone_name(&self) -> String {
        self.zone.iana_name().unwrap_or("UTC").to_owned()
    }
}
