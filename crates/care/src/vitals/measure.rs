//! What is measured: codes, units, what is possible, what is normal at which age.
//!
//! Limits of attention: adults after NEWS2 (Royal College of Physicians, 2017) and the ESC/ESH blood pressure grades;
//! children after the WHO Pocket Book of Hospital Care for Children (2013) and PALS ranges.

use super::Flag;
use jiff::civil::Date;

/// Values are integers in hundredths of the unit: 36.8 °C is 3680.
type Hundredths = i64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    Systolic,
    Diastolic,
    Pulse,
    Temperature,
    RespiratoryRate,
    OxygenSaturation,
    Weight,
    Height,
    BodyMassIndex,
}

impl Measure {
    pub const ALL: [Measure; 9] = [
        Measure::Systolic,
        Measure::Diastolic,
        Measure::Pulse,
        Measure::Temperature,
        Measure::RespiratoryRate,
        Measure::OxygenSaturation,
        Measure::Weight,
        Measure::Height,
        Measure::BodyMassIndex,
    ];
    pub fn loinc(self) -> &'static str {
        match self {
            Measure::Systolic => "8480-6",
            Measure::Diastolic => "8462-4",
            Measure::Pulse => "8867-4",
            Measure::Temperature => "8310-5",
            Measure::RespiratoryRate => "9279-1",
            Measure::OxygenSaturation => "59408-5",
            Measure::Weight => "29463-7",
            Measure::Height => "8302-2",
            Measure::BodyMassIndex => "39156-5",
        }
    }
    /// Also of codes that other systems use for the same.
    pub fn from_loinc(code: &str) -> Option<Measure> {
        match code {
            "2708-6" => Some(Measure::OxygenSaturation),
            "3141-9" => Some(Measure::Weight),
            "8331-1" | "8328-7" | "8333-7" => Some(Measure::Temperature),
            _ => Measure::ALL.into_iter().find(|measure| measure.loinc() == code),
        }
    }
    pub fn display(self) -> &'static str {
        match self {
            Measure::Systolic => "Systolic blood pressure",
            Measure::Diastolic => "Diastolic blood pressure",
            Measure::Pulse => "Pulse",
            Measure::Temperature => "Temperature",
            Measure::RespiratoryRate => "Respiratory rate",
            Measure::OxygenSaturation => "Oxygen saturation",
            Measure::Weight => "Weight",
            Measure::Height => "Height",
            Measure::BodyMassIndex => "Body mass index",
        }
    }
    /// UCUM code.
    pub fn ucum(self) -> &'static str {
        match self {
            Measure::Systolic | Measure::Diastolic => "mm[Hg]",
            Measure::Pulse | Measure::RespiratoryRate => "/min",
            Measure::Temperature => "Cel",
            Measure::OxygenSaturation => "%",
            Measure::Weight => "kg",
            Measure::Height => "cm",
            Measure::BodyMassIndex => "kg/m2",
        }
    }
    /// For people.
    pub fn unit(self) -> &'static str {
        match self {
            Measure::Systolic | Measure::Diastolic => "mmHg",
            Measure::Temperature => "°C",
            Measure::BodyMassIndex => "kg/m²",
            other => other.ucum(),
        }
    }
    /// Field of the entry form.
    pub fn field(self) -> &'static str {
        match self {
            Measure::Systolic => "/systolic",
            Measure::Diastolic => "/diastolic",
            Measure::Pulse => "/pulse",
            Measure::Temperature => "/temperature",
            Measure::RespiratoryRate => "/respiratory_rate",
            Measure::OxygenSaturation => "/spo2",
            Measure::Weight => "/weight",
            Measure::Height => "/height",
            Measure::BodyMassIndex => "/bmi",
        }
    }
    /// What a living person can have; beyond is a slip of the hand.
    pub fn plausible(self) -> (Hundredths, Hundredths) {
        let (low, high) = match self {
            Measure::Systolic => (40, 300),
            Measure::Diastolic => (20, 200),
            Measure::Pulse => (20, 300),
            Measure::Temperature => (25, 45),
            Measure::RespiratoryRate => (4, 120),
            Measure::OxygenSaturation => (40, 100),
            Measure::Weight => return (30, 40_000),
            Measure::Height => (20, 260),
            Measure::BodyMassIndex => (5, 150),
        };
        (low * 100, high * 100)
    }
    /// Decimals that the value may have.
    pub fn decimals(self) -> usize {
        match self {
            Measure::Temperature | Measure::Height | Measure::BodyMassIndex => 1,
            Measure::Weight => 2,
            _ => 0,
        }
    }
    /// Position of a limits row below, `None` for what has no limits of attention by itself.
    fn limits(self, age: Age) -> Option<[Hundredths; 4]> {
        let row = match (self, age) {
            (Measure::Temperature, Age::UnderMonths(3)) => [3500, 3650, 3750, 3800],
            (Measure::Temperature, _) => [3500, 3600, 3800, 3950],
            (Measure::OxygenSaturation, _) => [9000, 9400, i64::MAX, i64::MAX],
            (Measure::Pulse, Age::UnderMonths(3)) => [8000, 10000, 18000, 20000],
            (Measure::Pulse, Age::UnderMonths(12)) => [8000, 10000, 16000, 19000],
            (Measure::Pulse, Age::UnderYears(5)) => [6000, 8000, 14000, 18000],
            (Measure::Pulse, Age::UnderYears(12)) => [5000, 7000, 12000, 16000],
            (Measure::Pulse, _) => [4100, 5100, 9000, 13000],
            (Measure::RespiratoryRate, Age::UnderMonths(3)) => [2000, 3000, 5900, 7000],
            (Measure::RespiratoryRate, Age::UnderMonths(12)) => [1500, 2500, 4900, 6000],
            (Measure::RespiratoryRate, Age::UnderYears(5)) => [1200, 2000, 3900, 5000],
            (Measure::RespiratoryRate, Age::UnderYears(12)) => [1000, 1600, 2900, 4000],
            (Measure::RespiratoryRate, _) => [900, 1200, 2000, 2400],
            (Measure::Systolic, Age::UnderMonths(3)) => [5000, 6000, 9500, 11000],
            (Measure::Systolic, Age::UnderMonths(12)) => [6000, 7000, 10500, 12000],
            (Measure::Systolic, Age::UnderYears(5)) => [7000, 8000, 11000, 13000],
            (Measure::Systolic, Age::UnderYears(12)) => [7000, 9000, 12000, 14000],
            (Measure::Systolic, _) => [9000, 10000, 13900, 17900],
            (Measure::Diastolic, Age::UnderMonths(_)) => [2000, 3000, 6500, 8000],
            (Measure::Diastolic, Age::UnderYears(12 | 5)) => [3500, 4500, 7900, 9500],
            (Measure::Diastolic, _) => [5000, 6000, 8900, 10900],
            (Measure::BodyMassIndex, Age::Adult) => [1600, 1850, 2490, 3990],
            (Measure::Weight | Measure::Height | Measure::BodyMassIndex, _) => return None,
        };
        Some(row)
    }
}

/// The group of reference ranges a person belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// 3 or 12
    UnderMonths(u8),
    /// 5, 12 or 18
    UnderYears(u8),
    Adult,
}

impl Age {
    /// On the day of measuring; an unknown or partial birth date counts as adult.
    pub fn on(birth_date: &str, day: Date) -> Age {
        let Ok(born) = birth_date.parse::<Date>() else { return Age::Adult };
        let months = i32::from(day.year() - born.year()) * 12 + i32::from(day.month() - born.month())
            - i32::from(day.day() < born.day());
        match months {
            ..3 => Age::UnderMonths(3),
            3..12 => Age::UnderMonths(12),
            12..60 => Age::UnderYears(5),
            60..144 => Age::UnderYears(12),
            144..216 => Age::UnderYears(18),
            _ => Age::Adult,
        }
    }
}

/// The flag of a value in hundredths. The limits themselves are normal: critical below the first, low below the
/// second, high above the third, critical above the fourth.
pub fn flag(measure: Measure, value: Hundredths, age: Age) -> Option<Flag> {
    let [critical_low, low, high, critical_high] = measure.limits(age)?;
    if value < critical_low {
        Some(Flag::LL)
    } else if value < low {
        Some(Flag::L)
    } else if value > critical_high {
        Some(Flag::HH)
    } else if value > high {
        Some(Flag::H)
    } else {
        None
    }
}

/// Position in lists.
pub fn sort(code: &str) -> usize {
    Measure::ALL.iter().position(|measure| measure.loinc() == code).unwrap_or(Measure::ALL.len())
}
