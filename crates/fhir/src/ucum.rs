//! Units of measure: UCUM codes (<https://ucum.org/ucum>) read to dimensions and exact factors.
//!
//! Covers metric prefixes, products, quotients, exponents, annotations, and the atoms that health care uses. The mole
//! is a dimension of its own, because nobody means Avogadro's number when asking for `mmol/L`; so is each arbitrary
//! unit such as `[iU]`, which compares with nothing but itself.

use std::collections::HashMap;
use std::sync::OnceLock;

/// The system of UCUM codes.
pub const SYSTEM: &str = "http://unitsofmeasure.org";

/// Longest code that is read.
const MAX_LENGTH: usize = 64;
/// Nested parentheses.
const MAX_DEPTH: usize = 8;

/// Exponents of metre, second, gram, kelvin, coulomb, candela, radian, mole; then of arbitrary atoms.
type Dimension = [i8; 8];

const NONE: Dimension = [0; 8];

/// A unit that was read: what it measures and how many base units it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    dimension: Dimension,
    /// Arbitrary atoms by name, sorted, with their exponents.
    arbitrary: Vec<(&'static str, i8)>,
    /// Factor to the base units, in lowest terms.
    numerator: i128,
    denominator: i128,
    /// Zero of a temperature scale: base = (value + shift) * factor, in thousandths.
    shift_thousandths: i128,
}

struct Atom {
    code: &'static str,
    metric: bool,
    factor: (i128, i128),
    dimension: Dimension,
    arbitrary: bool,
}

const fn atom(code: &'static str, metric: bool, factor: (i128, i128), dimension: Dimension) -> Atom {
    Atom { code, metric, factor, dimension, arbitrary: false }
}
const fn own(code: &'static str, metric: bool) -> Atom {
    Atom { code, metric, factor: (1, 1), dimension: NONE, arbitrary: true }
}

const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 1, 0, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 0, 1, 0, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 1, 0, 0, 0, 0];
const CHARGE: Dimension = [0, 0, 0, 0, 1, 0, 0, 0];
const LIGHT: Dimension = [0, 0, 0, 0, 0, 1, 0, 0];
const ANGLE: Dimension = [0, 0, 0, 0, 0, 0, 1, 0];
const AMOUNT: Dimension = [0, 0, 0, 0, 0, 0, 0, 1];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0, 0];
const PER_TIME: Dimension = [0, -1, 0, 0, 0, 0, 0, 0];
const FORCE: Dimension = [1, -2, 1, 0, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, -2, 1, 0, 0, 0, 0, 0];
const ENERGY: Dimension = [2, -2, 1, 0, 0, 0, 0, 0];
const POWER: Dimension = [2, -3, 1, 0, 0, 0, 0, 0];
const CURRENT: Dimension = [0, -1, 0, 0, 1, 0, 0, 0];
const VOLTAGE: Dimension = [2, -2, 1, 0, -1, 0, 0, 0];
const RESISTANCE: Dimension = [2, -1, 1, 0, -2, 0, 0, 0];
const DOSE: Dimension = [2, -2, 0, 0, 0, 0, 0, 0];
const CATALYSIS: Dimension = [0, -1, 0, 0, 0, 0, 0, 1];

/// Sorted by nothing: longest match wins.
const ATOMS: &[Atom] = &[
    atom("m", true, (1, 1), LENGTH),
    atom("s", true, (1, 1), TIME),
    atom("g", true, (1, 1), MASS),
    atom("K", true, (1, 1), TEMPERATURE),
    atom("C", true, (1, 1), CHARGE),
    atom("cd", true, (1, 1), LIGHT),
    atom("rad", true, (1, 1), ANGLE),
    atom("mol", true, (1, 1), AMOUNT),
    atom("eq", true, (1, 1), AMOUNT),
    atom("osm", true, (1, 1), AMOUNT),
    atom("10*", false, (10, 1), NONE),
    atom("10^", false, (10, 1), NONE),
    atom("%", false, (1, 100), NONE),
    atom("[ppth]", false, (1, 1_000), NONE),
    atom("[ppm]", false, (1, 1_000_000), NONE),
    atom("[ppb]", false, (1, 1_000_000_000), NONE),
    atom("min", false, (60, 1), TIME),
    atom("h", false, (3_600, 1), TIME),
    atom("d", false, (86_400, 1), TIME),
    atom("wk", false, (604_800, 1), TIME),
    atom("mo", false, (2_629_800, 1), TIME),
    atom("mo_j", false, (2_629_800, 1), TIME),
    atom("a", false, (31_557_600, 1), TIME),
    atom("a_j", false, (31_557_600, 1), TIME),
    atom("Hz", true, (1, 1), PER_TIME),
    atom("Bq", true, (1, 1), PER_TIME),
    atom("Ci", true, (37_000_000_000, 1), PER_TIME),
    atom("L", true, (1, 1_000), VOLUME),
    atom("l", true, (1, 1_000), VOLUME),
    atom("[drp]", false, (1, 20_000_000), VOLUME),
    atom("[tsp_us]", false, (492_892_159_375, 100_000_000_000_000_000), VOLUME),
    atom("[tbs_us]", false, (1_478_676_478_125, 100_000_000_000_000_000), VOLUME),
    atom("[foz_us]", false, (295_735_295_625, 10_000_000_000_000_000), VOLUME),
    atom("[cup_us]", false, (2_365_882_365, 10_000_000_000_000), VOLUME),
    atom("[pt_us]", false, (473_176_473, 1_000_000_000_000), VOLUME),
    atom("[qt_us]", false, (946_352_946, 1_000_000_000_000), VOLUME),
    atom("[gal_us]", false, (3_785_411_784, 1_000_000_000_000), VOLUME),
    atom("[in_i]", false, (254, 10_000), LENGTH),
    atom("[in_us]", false, (100, 3_937), LENGTH),
    atom("[ft_i]", false, (3_048, 10_000), LENGTH),
    atom("[yd_i]", false, (9_144, 10_000), LENGTH),
    atom("[mi_i]", false, (1_609_344, 1_000), LENGTH),
    atom("Ao", false, (1, 10_000_000_000), LENGTH),
    atom("t", true, (1_000_000, 1), MASS),
    atom("u", true, (16_605_402, 10_000_000_000_000_000_000_000_000_000_000), MASS),
    atom("[lb_av]", false, (45_359_237, 100_000), MASS),
    atom("[oz_av]", false, (28_349_523_125, 1_000_000_000), MASS),
    atom("[stone_av]", false, (635_029_318, 100_000), MASS),
    atom("[gr]", false, (6_479_891, 100_000_000), MASS),
    atom("N", true, (1_000, 1), FORCE),
    atom("dyn", true, (1, 100), FORCE),
    atom("Pa", true, (1_000, 1), PRESSURE),
    atom("bar", true, (100_000_000, 1), PRESSURE),
    atom("atm", false, (101_325_000, 1), PRESSURE),
    atom("m[Hg]", true, (133_322_000, 1), PRESSURE),
    atom("m[H2O]", true, (9_806_650, 1), PRESSURE),
    atom("[psi]", false, (689_475_729_316_836, 100_000_000), PRESSURE),
    atom("J", true, (1_000, 1), ENERGY),
    atom("cal", true, (4_184, 1), ENERGY),
    atom("[Cal]", false, (4_184_000, 1), ENERGY),
    atom("eV", true, (160_217_733, 1_000_000_000_000_000_000_000_000), ENERGY),
    atom("W", true, (1_000, 1), POWER),
    atom("A", true, (1, 1), CURRENT),
    atom("V", true, (1_000, 1), VOLTAGE),
    atom("Ohm", true, (1_000, 1), RESISTANCE),
    atom("Gy", true, (1, 1), DOSE),
    atom("RAD", true, (1, 100), DOSE),
    atom("Sv", true, (1, 1), DOSE),
    atom("REM", true, (1, 100), DOSE),
    atom("kat", true, (1, 1), CATALYSIS),
    atom("U", true, (1, 60_000_000), CATALYSIS),
    atom("P", true, (100, 1), [-1, -1, 1, 0, 0, 0, 0, 0]),
    atom("lm", true, (1, 1), LIGHT),
    atom("lx", true, (1, 1), [-2, 0, 0, 0, 0, 1, 0, 0]),
    own("deg", false),
    own("[diop]", false),
    own("[pH]", false),
    own("[iU]", true),
    own("[IU]", true),
    own("[arb'U]", false),
    own("[USP'U]", false),
    own("[GPL'U]", false),
    own("[MPL'U]", false),
    own("[APL'U]", false),
    own("[beth'U]", false),
    own("[anti'Xa'U]", false),
    own("[todd'U]", false),
    own("[dye'U]", false),
    own("[bdsk'U]", false),
    own("[ka'U]", false),
    own("[knk'U]", false),
    own("[mclg'U]", false),
    own("[tb'U]", false),
    own("[CCID_50]", false),
    own("[TCID_50]", false),
    own("[EID_50]", false),
    own("[PFU]", false),
    own("[FFU]", false),
    own("[CFU]", false),
    own("[IR]", false),
    own("[BAU]", false),
    own("[AU]", false),
    own("[Amb'a'1'U]", false),
    own("[D'ag'U]", false),
    own("[ELU]", false),
    own("[EU]", false),
    own("[FEU]", false),
    own("[DDU]", false),
    own("[Lf]", false),
    own("[HPF]", false),
    own("[LPF]", false),
    own("[hnsf'U]", false),
    own("[MET]", false),
    own("[S]", false),
    own("[p'diop]", false),
    own("[car_Au]", false),
    own("[Ch]", false),
    own("bit", true),
    own("By", true),
    own("B", true),
    own("Np", true),
    own("B[SPL]", true),
];

const PREFIXES: &[(&str, i32)] = &[
    ("Y", 24),
    ("Z", 21),
    ("E", 18),
    ("P", 15),
    ("T", 12),
    ("G", 9),
    ("M", 6),
    ("k", 3),
    ("h", 2),
    ("da", 1),
    ("d", -1),
    ("c", -2),
    ("m", -3),
    ("u", -6),
    ("n", -9),
    ("p", -12),
    ("f", -15),
    ("a", -18),
    ("z", -21),
    ("y", -24),
];

fn gcd(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i128::try_from(a).unwrap_or(1).max(1)
}

fn ten_to(exponent: i32) -> Option<(i128, i128)> {
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent >= 0 { (power, 1) } else { (1, power) })
}

impl Unit {
    fn one() -> Unit {
        Unit { dimension: NONE, arbitrary: Vec::new(), numerator: 1, denominator: 1, shift_thousandths: 0 }
    }

    fn scaled(mut self, (numerator, denominator): (i128, i128)) -> Option<Unit> {
        let common = gcd(numerator, denominator);
        let (numerator, denominator) = (numerator / common, denominator / common);
        let (a, b) = (gcd(self.numerator, denominator), gcd(numerator, self.denominator));
        self.numerator = (self.numerator / a).checked_mul(numerator / b)?;
        self.denominator = (self.denominator / b).checked_mul(denominator / a)?;
        Some(self)
    }

    /// Scales that start elsewhere than at zero take no part in products.
    fn times(self, other: &Unit, sign: i8) -> Option<Unit> {
        if self.shift_thousandths != 0 || other.shift_thousandths != 0 {
            return None;
        }
        let factor = if sign > 0 {
            (other.numerator, other.denominator)
        } else {
            (other.denominator, other.numerator)
        };
        let mut out = self.scaled(factor)?;
        for (mine, theirs) in out.dimension.iter_mut().zip(other.dimension) {
            *mine = mine.checked_add(theirs.checked_mul(sign)?)?;
        }
        for (name, exponent) in &other.arbitrary {
            let exponent = exponent.checked_mul(sign)?;
            match out.arbitrary.iter().position(|(n, _)| n == name) {
                Some(at) => {
                    out.arbitrary[at].1 = out.arbitrary[at].1.checked_add(exponent)?;
                    if out.arbitrary[at].1 == 0 {
                        out.arbitrary.remove(at);
                    }
                }
                None => out.arbitrary.push((name, exponent)),
            }
        }
        out.arbitrary.sort_unstable();
        Some(out)
    }

    fn power(&self, exponent: i8) -> Option<Unit> {
        let mut out = Unit::one();
        if exponent == 1 {
            return Some(self.clone());
        }
        for _ in 0..exponent.unsigned_abs() {
            out = out.times(self, exponent.signum())?;
        }
        Some(out)
    }

    /// Reads a UCUM code (case sensitive). `None` if it is none, or uses atoms beyond health care.
    pub fn parse(code: &str) -> Option<Unit> {
        if code.is_empty() || code.len() > MAX_LENGTH || !code.is_ascii() {
            return None;
        }
        match code {
            "Cel" => {
                return Some(Unit { dimension: TEMPERATURE, shift_thousandths: 273_150, ..Unit::one() });
            }
            "[degF]" => {
                return Some(Unit {
                    dimension: TEMPERATURE,
                    numerator: 5,
                    denominator: 9,
                    shift_thousandths: 459_670,
                    ..Unit::one()
                });
            }
            _ => {}
        }
        let mut rest = code;
        let unit = term(&mut rest, 0)?;
        rest.is_empty().then_some(unit)
    }

    /// Whether values in the two units can be compared.
    pub fn is_comparable(&self, other: &Unit) -> bool {
        self.dimension == other.dimension && self.arbitrary == other.arbitrary
    }

    /// `(numerator, denominator)` by which a value in this unit becomes one in `other`; `None` if they do not
    /// compare, if the scales start at different points ([Unit::convert] knows those), or if the numbers are beyond
    /// 128 bits.
    pub fn ratio_to(&self, other: &Unit) -> Option<(i128, i128)> {
        if !self.is_comparable(other) || self.shift_thousandths != 0 || other.shift_thousandths != 0 {
            return None;
        }
        let one = Unit { numerator: self.numerator, denominator: self.denominator, ..Unit::one() };
        let out = one.scaled((other.denominator, other.numerator))?;
        Some((out.numerator, out.denominator))
    }

    /// A value in this unit, as one in `other`; temperatures too. `None` if they do not compare.
    pub fn convert(&self, value: f64, other: &Unit) -> Option<f64> {
        if let Some((numerator, denominator)) = self.ratio_to(other) {
            return Some(value * numerator as f64 / denominator as f64);
        }
        if !self.is_comparable(other) {
            return None;
        }
        // In thousandths, so that 37 Cel is exactly 310150 mK.
        let base =
            (value * 1e3 + self.shift_thousandths as f64) * self.numerator as f64 / self.denominator as f64;
        let scaled = base * other.denominator as f64 / other.numerator as f64;
        Some((scaled - other.shift_thousandths as f64) / 1e3)
    }
}

/// `component {("." | "/") component}`, or all of it behind a slash.
fn term(rest: &mut &str, depth: usize) -> Option<Unit> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut out = Unit::one();
    let mut sign = 1;
    if let Some(r) = rest.strip_prefix('/') {
        (*rest, sign) = (r, -1);
    }
    loop {
        let next = component(rest, depth)?;
        // A lone temperature scale in parentheses or beside an annotation is still one.
        out = if out == Unit::one() && sign > 0 { next } else { out.times(&next, sign)? };
        sign = match rest.bytes().next() {
            Some(b'.') => 1,
            Some(b'/') => -1,
            _ => return Some(out),
        };
        *rest = &rest[1..];
    }
}

fn component(rest: &mut &str, depth: usize) -> Option<Unit> {
    if let Some(r) = rest.strip_prefix('(') {
        *rest = r;
        let inner = term(rest, depth + 1)?;
        *rest = rest.strip_prefix(')')?;
        return Some(inner);
    }
    if rest.starts_with('{') {
        annotation(rest)?;
        return Some(Unit::one());
    }
    let unit = match simple(rest) {
        Some(unit) => unit,
        None => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: i128 = rest.get(..digits)?.parse().ok().filter(|n| *n > 0)?;
            *rest = &rest[digits..];
            return Unit::one().scaled((number, 1));
        }
    };
    let unit = match exponent(rest)? {
        Some(exponent) => unit.power(exponent)?,
        None => unit,
    };
    if rest.starts_with('{') {
        annotation(rest)?;
    }
    Some(unit)
}

fn annotation(rest: &mut &str) -> Option<()> {
    let end = rest.find('}')?;
    *rest = &rest[end + 1..];
    Some(())
}

fn exponent(rest: &mut &str) -> Option<Option<i8>> {
    let (sign, digits) = match rest.bytes().next() {
        Some(b'+') => (1, &rest[1..]),
        Some(b'-') => (-1, &rest[1..]),
        _ => (1, *rest),
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        // A bare sign is no exponent, and nothing else may start with one.
        return (digits.len() == rest.len()).then_some(None);
    }
    let value: i8 = digits[..count].parse().ok().filter(|n| *n <= 24)?;
    *rest = &digits[count..];
    Some(Some(value * sign))
}

/// A prefixed or plain atom. A plain one wins over a prefixed one of the same length (`cd` is no centiday).
fn simple(rest: &mut &str) -> Option<Unit> {
    let plain = longest(rest);
    let prefixed = PREFIXES
        .iter()
        .filter_map(|(prefix, exponent)| {
            let found = longest(rest.strip_prefix(prefix)?).filter(|a| a.metric)?;
            Some((prefix.len() + found.code.len(), *exponent, found))
        })
        .max_by_key(|(length, ..)| *length);
    let (length, exponent, found) = match (plain, prefixed) {
        (Some(p), Some((length, ..))) if p.code.len() >= length => (p.code.len(), 0, p),
        (_, Some(found)) => found,
        (Some(p), None) => (p.code.len(), 0, p),
        (None, None) => return None,
    };
    *rest = &rest[length..];
    let unit = Unit {
        dimension: found.dimension,
        arbitrary: if found.arbitrary { vec![(found.code, 1)] } else { Vec::new() },
        ..Unit::one()
    };
    unit.scaled(found.factor)?.scaled(ten_to(exponent)?)
}

fn longest(text: &str) -> Option<&'static Atom> {
    ATOMS.iter().filter(|a| text.starts_with(a.code)).max_by_key(|a| a.code.len())
}

/// Units in which clinical values are sent. What is not listed here is found by its own code only.
const COMMON: &str = "kg hg g mg ug ng pg [lb_av] [oz_av] [stone_av] t km m dm cm mm um nm [in_i] [ft_i] [yd_i] [mi_i] m2 \
    cm2 mm2 m3 cm3 mm3 L l dL dl cL mL ml uL ul nL pL fL [drp] [tsp_us] [foz_us] [cup_us] s ms us min h \
    d wk mo a Cel [degF] K mol mmol umol nmol pmol eq meq ueq osm mosm mol/L mmol/L umol/L nmol/L pmol/L \
    fmol/L mol/l mmol/l umol/l nmol/l pmol/l mmol/dL umol/dL nmol/dL umol/mL nmol/mL pmol/mL mol/m3 \
    mmol/m3 eq/L meq/L meq/dL osm/L mosm/L osm/kg mosm/kg mol/kg mmol/kg umol/kg umol/g nmol/g mmol/g \
    mmol/mol umol/mol mol/mol g/L g/l mg/L mg/l ug/L ug/l ng/L ng/l pg/L g/dL g/dl mg/dL mg/dl ug/dL \
    ug/dl ng/dL ng/dl pg/dL g/mL mg/mL ug/mL ng/mL pg/mL g/m3 mg/m3 ug/m3 kg/L kg/m3 g/cm3 mg/mm3 fg/mL \
    ug/uL mg/g ug/g ng/g ng/mg ug/mg mg/kg ug/kg ng/kg g/kg g/g kg/kg mg/mg g/mol mg/mmol g/mmol ug/mmol \
    mg/mol ug/umol % 1 10*-3 [ppth] [ppm] [ppb] 10*3 10*6 10*9 10*12 /L /l /mL /ml /uL /ul /dL /mm3 \
    10*3/L 10*6/L 10*9/L 10*12/L 10*3/mL 10*6/mL 10*3/uL 10*6/uL 10*9/uL 10*3/mm3 10*6/mm3 10*3/ul \
    10*6/ul 10*9/l 10*12/l {cells}/uL {cells}/mL {copies}/mL {copies}/uL {copies}/L /s /min /h /d \
    {beats}/min {breaths}/min Hz kHz Bq kBq MBq GBq Ci mCi uCi mm[Hg] cm[Hg] m[Hg] cm[H2O] mm[H2O] Pa \
    hPa kPa mbar bar atm [psi] mL/min ml/min L/min l/min mL/s L/s mL/h ml/h L/h uL/min uL/h mL/d L/d \
    mL/min/{1.73_m2} mL/min/m2 L/min/m2 mL/kg mL/kg/h mL/kg/min L/kg mL/kg/d mg/h mg/min mg/d g/d g/h \
    ug/d ug/h ug/min ng/min kg/d mg/kg/d mg/kg/h mg/kg/min ug/kg/h ug/kg/min ug/kg/d ng/kg/min g/kg/d \
    mg/m2 g/m2 kg/m2 ug/m2 mg/cm2 g/cm2 mmol/d umol/d mol/d nmol/d mmol/h umol/h mmol/kg/h umol/min \
    nmol/min umol/s mol/s kat nkat ukat U mU kU kat/L nkat/L ukat/L mol/s/L U/L U/l mU/L kU/L U/dL U/mL \
    mU/mL uU/mL kU/mL U/h U/d U/g mU/g [iU] m[iU] k[iU] u[iU] [iU]/L [iU]/l m[iU]/L m[iU]/l k[iU]/L \
    u[iU]/L [iU]/mL m[iU]/mL u[iU]/mL k[iU]/mL [iU]/dL [iU]/kg [iU]/h [iU]/d [iU]/g J kJ MJ cal kcal \
    [Cal] kcal/d kJ/d kcal/kg/d kcal/h W kW V mV uV A mA Ohm kOhm N mN Gy mGy cGy uGy Sv mSv uSv Gy.cm2 \
    mGy.cm mm/h mm/s cm/s m/s m/h km/h m/s2 mm/d dyn.s/cm5 Pa.s mPa.s g.m s/{control} g/(8.h) g/(12.h) \
    g/(24.h) mg/(12.h) mg/(24.h) ug/(24.h) mmol/(24.h) umol/(24.h) nmol/(24.h) mL/(24.h) L/(24.h) \
    kcal/(24.h) kPa.s/L L/kg L/mmol mL/mm[Hg] mL/cm[H2O] L/kPa";

/// What compares with each other.
type Kind = (Dimension, Vec<(&'static str, i8)>);
type Known = HashMap<Kind, Vec<(&'static str, Unit)>>;

fn common() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut all = Known::new();
        for code in COMMON.split(' ') {
            if let Some(unit) = Unit::parse(code) {
                all.entry((unit.dimension, unit.arbitrary.clone())).or_default().push((code, unit));
            }
        }
        all
    })
}

/// The units in common clinical use that compare with this one, itself left out.
pub fn alternatives(code: &str) -> impl Iterator<Item = (&'static str, &'static Unit)> + use<'_> {
    let unit = Unit::parse(code);
    let known = unit.and_then(|u| common().get(&(u.dimension, u.arbitrary)));
    known.into_iter().flatten().filter(move |(other, _)| *other != code).map(|(code, unit)| (*code, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(a: &str, b: &str) -> Option<(i128, i128)> {
        Unit::parse(a)?.ratio_to(&Unit::parse(b)?)
    }

    #[test]
    fn ratios_are_exact() {
        for (a, b, expected) in [
            ("mmol/L", "umol/L", (1000, 1)),
            ("mmol/L", "mol/m3", (1, 1)),
            ("mg/dL", "g/L", (1, 100)),
            ("mg/dL", "ug/mL", (10, 1)),
            ("10*3/uL", "10*9/L", (1, 1)),
            ("{cells}/uL", "10*6/L", (1, 1)),
            ("/uL", "/mm3", (1, 1)),
            ("[lb_av]", "kg", (45_359_237, 100_000_000)),
            ("cm", "[in_i]", (50, 127)),
            ("U/L", "nkat/L", (50, 3)),
            ("umol/min", "U", (1, 1)),
            ("mm[Hg]", "Pa", (66_661, 500)),
            ("%", "1", (1, 100)),
            ("wk", "d", (7, 1)),
            ("a", "mo", (12, 1)),
            ("m[iU]/mL", "[iU]/L", (1, 1)),
            ("mL/min/{1.73_m2}", "L/h", (3, 50)),
            ("dyn.s/cm5", "Pa.s/m3", (100_000, 1)),
            ("mg/(12.h)", "mg/h", (1, 12)),
            ("kg.m/s2", "N", (1, 1)),
            ("m2", "cm2", (10_000, 1)),
            ("[psi]", "kPa", ratio("[psi]", "kPa").unwrap()),
        ] {
            assert_eq!(ratio(a, b), Some(expected), "{a} {b}");
        }
        for (a, b) in [
            ("mg", "mL"),
            ("mmol/L", "mg/L"),
            ("[iU]", "U"),
            ("[iU]", "[arb'U]"),
            ("Cel", "K"),
            ("deg", "rad"),
        ] {
            assert_eq!(ratio(a, b), None, "{a} {b}");
        }
    }

    #[test]
    fn temperatures_convert() {
        let convert = |v: f64, a: &str, b: &str| Unit::parse(a).unwrap().convert(v, &Unit::parse(b).unwrap());
        assert_eq!(convert(37.0, "Cel", "K"), Some(310.15));
        assert!((convert(98.6, "[degF]", "Cel").unwrap() - 37.0).abs() < 1e-9);
        assert!((convert(38.5, "Cel", "[degF]").unwrap() - 101.3).abs() < 1e-9);
        assert_eq!(convert(1.0, "Cel", "mg"), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for code in [
            "", "mmHg2x", "mg/", "/", "mg//L", "(mg", "mg)", "m-", "foo", "MG", "10*99", "{", "mg{x", "é",
            "0", "Cel/L", "h99",
        ] {
            assert_eq!(Unit::parse(code), None, "{code}");
        }
        assert!(Unit::parse(&"(".repeat(60)).is_none());
        for code in COMMON.split(' ') {
            assert!(Unit::parse(code).is_some(), "{code}");
        }
    }

    #[test]
    fn alternatives_compare() {
        let of = |code: &str| alternatives(code).map(|(c, _)| c).collect::<Vec<_>>();
        assert!(of("mmol/L").contains(&"umol/L") && of("mmol/L").contains(&"mol/m3"));
        assert!(!of("mmol/L").contains(&"mmol/L"));
        assert!(of("Cel").contains(&"[degF]"));
        assert!(of("nonsense").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(code in "\\PC{0,40}", like in "[mgkLul/.*0-9()\\[\\]{}+-]{0,30}") {
            let _ = Unit::parse(&code);
            let _ = Unit::parse(&like);
        }
    }
}
