//! The STUN message format (RFC 8489 §5, §14) as far as a TURN server needs it: parsing requests without
//! copying, and building replies. Pure: no sockets, no clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;

/// Bytes of a STUN header.
pub const HEADER_LENGTH: usize = 20;
/// Bytes of a ChannelData header (RFC 8656 §12.4).
pub const CHANNEL_HEADER_LENGTH: usize = 4;
const MAGIC_COOKIE: u32 = 0x2112_A442;
const FINGERPRINT_MASK: u32 = 0x5354_554E;
const INTEGRITY_LENGTH: usize = 20;
/// More attributes than any real client sends; bounds the parse loop.
const ATTRIBUTES_MAX: usize = 64;

/// Attribute numbers (IANA STUN registry).
pub mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    pub const LIFETIME: u16 = 0x000D;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const FINGERPRINT: u16 = 0x8028;
}

/// What a message asks for or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Binding,
    Allocate,
    Refresh,
    Send,
    Data,
    CreatePermission,
    ChannelBind,
}

impl Method {
    fn number(self) -> u16 {
        match self {
            Self::Binding => 1,
            Self::Allocate => 3,
            Self::Refresh => 4,
            Self::Send => 6,
            Self::Data => 7,
            Self::CreatePermission => 8,
            Self::ChannelBind => 9,
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Binding,
            3 => Self::Allocate,
            4 => Self::Refresh,
            6 => Self::Send,
            7 => Self::Data,
            8 => Self::CreatePermission,
            9 => Self::ChannelBind,
            _ => return None,
        })
    }
}

/// The class bits of a message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

impl Class {
    fn number(self) -> u16 {
        match self {
            Self::Request => 0,
            Self::Indication => 1,
            Self::Success => 2,
            Self::Error => 3,
        }
    }
}

/// Why bytes are no STUN message; such datagrams are dropped unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    #[error("the message is shorter than its header says")]
    Truncated,
    #[error("not a STUN message")]
    NotStun,
    #[error("an attribute runs past the end of the message")]
    AttributeOverrun,
    #[error("more attributes than any client sends")]
    TooManyAttributes,
    #[error("the fingerprint does not match")]
    Fingerprint,
}

/// A parsed message that borrows the datagram it came in.
#[derive(Debug)]
pub struct Message<'a> {
    pub method: Method,
    pub class: Class,
    pub transaction: [u8; 12],
    raw: &'a [u8],
    attributes: Vec<(u16, &'a [u8])>,
    integrity_at: Option<usize>,
}

/// RFC 7983: the first two bits tell STUN (00) from ChannelData (01).
pub fn is_channel_data(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|byte| byte >> 6 == 1)
}

/// Splits a ChannelData message into channel number and application data. None when the length field
/// promises more than there is.
pub fn parse_channel_data(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let header = datagram.get(..CHANNEL_HEADER_LENGTH)?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Some((number, datagram.get(CHANNEL_HEADER_LENGTH..CHANNEL_HEADER_LENGTH + length)?))
}

impl<'a> Message<'a> {
    /// Parses one datagram (or one framed message of a stream).
    ///
    /// # Errors
    /// [StunError] when the bytes are no well-formed message of a method this server knows.
    pub fn parse(raw: &'a [u8]) -> Result<Self, StunError> {
        let header = raw.get(..HEADER_LENGTH).ok_or(StunError::Truncated)?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let cookie = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        if kind >> 14 != 0 || cookie != MAGIC_COOKIE || !length.is_multiple_of(4) {
            return Err(StunError::NotStun);
        }
        if raw.len() != HEADER_LENGTH + length {
            return Err(StunError::Truncated);
        }
        let number = (kind & 0x000F) | ((kind & 0x00E0) >> 1) | ((kind & 0x3E00) >> 2);
        let method = Method::from_number(number).ok_or(StunError::NotStun)?;
        let class = match ((kind >> 7) & 2) | ((kind >> 4) & 1) {
            0 => Class::Request,
            1 => Class::Indication,
            2 => Class::Success,
            _ => Class::Error,
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..20]);
        let mut message =
            Self { method, class, transaction, raw, attributes: Vec::with_capacity(8), integrity_at: None };
        message.read_attributes()?;
        Ok(message)
    }

    fn read_attributes(&mut self) -> Result<(), StunError> {
        let mut at = HEADER_LENGTH;
        for _ in 0..ATTRIBUTES_MAX {
            if at == self.raw.len() {
                return Ok(());
            }
            let header = self.raw.get(at..at + 4).ok_or(StunError::AttributeOverrun)?;
            let kind = u16::from_be_bytes([header[0], header[1]]);
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let value = self.raw.get(at + 4..at + 4 + length).ok_or(StunError::AttributeOverrun)?;
            if kind == attribute::FINGERPRINT {
                let expected = fingerprint(&self.raw[..at], at + 8 - HEADER_LENGTH);
                if value != expected.to_be_bytes() {
                    return Err(StunError::Fingerprint);
                }
            } else if self.integrity_at.is_none() {
                // RFC 8489 §14.5: what follows MESSAGE-INTEGRITY is not protected and must be ignored.
                if kind == attribute::MESSAGE_INTEGRITY {
                    self.integrity_at = Some(at);
                }
                self.attributes.push((kind, value));
            }
            at += 4 + length.next_multiple_of(4);
            if at > self.raw.len() {
                return Err(StunError::AttributeOverrun);
            }
        }
        Err(StunError::TooManyAttributes)
    }

    /// The first attribute of that number.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(number, _)| *number == kind).map(|(_, value)| *value)
    }

    /// The first attribute of that number as text; None when absent or not UTF-8.
    pub fn text(&self, kind: u16) -> Option<&'a str> {
        self.get(kind).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first attribute of that number as a big-endian 32-bit number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|value| value.try_into().ok()).map(u32::from_be_bytes)
    }

    /// Every address of that number, in order; None stands for one that is malformed.
    pub fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> + '_ {
        self.attributes
            .iter()
            .filter(move |(number, _)| *number == kind)
            .map(|(_, value)| xor_address(value, &self.transaction))
    }

    /// Numbers below 0x8000 must be understood (RFC 8489 §14); these are the ones that are not in `known`.
    pub fn not_understood(&self, known: &[u16]) -> Vec<u16> {
        self.attributes
            .iter()
            .map(|(kind, _)| *kind)
            .filter(|kind| *kind < 0x8000 && !known.contains(kind))
            .collect()
    }

    pub fn has_integrity(&self) -> bool {
        self.integrity_at.is_some()
    }

    /// Checks MESSAGE-INTEGRITY with a long-term key, in constant time.
    pub fn verify(&self, key: &[u8; 16]) -> bool {
        let (Some(at), Some(given)) = (self.integrity_at, self.get(attribute::MESSAGE_INTEGRITY)) else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key) else { return false };
        update_with_length(&mut mac, &self.raw[..at], at + 4 + INTEGRITY_LENGTH - HEADER_LENGTH);
        mac.verify_slice(given).is_ok()
    }
}

/// The key of the long-term mechanism, MD5(username ":" realm ":" password); MD5 because RFC 8489 §9.2.2
/// and every browser say so, over a password that is itself a fresh HMAC.
pub fn long_term_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    hash.update(username.as_bytes());
    hash.update(b":");
    hash.update(realm.as_bytes());
    hash.update(b":");
    hash.update(password.as_bytes());
    hash.finalize().into()
}

fn update_with_length(mac: &mut Hmac<Sha1>, message: &[u8], length: usize) {
    // The hash covers a header whose length field ends just after the attribute being computed.
    mac.update(&message[..2]);
    mac.update(&(length as u16).to_be_bytes());
    mac.update(&message[4..]);
}

fn fingerprint(message: &[u8], length: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&message[..2]);
    hasher.update(&(length as u16).to_be_bytes());
    hasher.update(&message[4..]);
    hasher.finalize() ^ FINGERPRINT_MASK
}

fn xor_address(value: &[u8], transaction: &[u8; 12]) -> Option<SocketAddr> {
    let family = *value.get(1)?;
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]) ^ (MAGIC_COOKIE >> 16) as u16;
    let pad = xor_pad(transaction);
    let ip = match (family, value.len()) {
        (1, 8) => {
            let mut octets = [0; 4];
            for (index, octet) in octets.iter_mut().enumerate() {
                *octet = value[4 + index] ^ pad[index];
            }
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        (2, 20) => {
            let mut octets = [0; 16];
            for (index, octet) in octets.iter_mut().enumerate() {
                *octet = value[4 + index] ^ pad[index];
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn xor_pad(transaction: &[u8; 12]) -> [u8; 16] {
    let mut pad = [0; 16];
    pad[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    pad[4..].copy_from_slice(transaction);
    pad
}

/// Builds a message; attributes are appended in the order of the calls.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    pub fn new(method: Method, class: Class, transaction: &[u8; 12]) -> Self {
        let (number, class) = (method.number(), class.number());
        let kind = (number & 0x000F)
            | ((number & 0x0070) << 1)
            | ((number & 0x0F80) << 2)
            | ((class & 1) << 4)
            | ((class & 2) << 7);
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes.extend_from_slice(transaction);
        Self { bytes }
    }

    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    pub fn address(self, kind: u16, address: SocketAddr) -> Self {
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&self.bytes[8..20]);
        let pad = xor_pad(&transaction);
        let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
        value.extend_from_slice(&(address.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(pad).map(|(octet, mask)| octet ^ mask)),
            IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(pad).map(|(octet, mask)| octet ^ mask)),
        }
        self.attribute(kind, &value)
    }

    /// ERROR-CODE (RFC 8489 §14.8).
    pub fn error(self, code: u16, reason: &str) -> Self {
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Ends the message, signed when the sender of the request has proved its key.
    pub fn finish(mut self, key: Option<&[u8; 16]>) -> Vec<u8> {
        if let Some(mut mac) = key.and_then(|key| Hmac::<Sha1>::new_from_slice(key).ok()) {
            let length = self.bytes.len() + 4 + INTEGRITY_LENGTH - HEADER_LENGTH;
            update_with_length(&mut mac, &self.bytes, length);
            let tag = mac.finalize().into_bytes();
            self = self.attribute(attribute::MESSAGE_INTEGRITY, &tag);
        }
        let length = self.bytes.len() + 8 - HEADER_LENGTH;
        let sum = fingerprint(&self.bytes, length);
        self = self.attribute(attribute::FINGERPRINT, &sum.to_be_bytes());
        let length = (self.bytes.len() - HEADER_LENGTH) as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.2: the sample IPv4 response, with short-term password "VOkJxbRl1RmTxUk/WvJxBt".
    const SAMPLE_RESPONSE: &[u8] =
        b"\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
        \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43\
        \x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\
        \x80\x28\x00\x04\xc0\x7d\x4c\x96";

    #[test]
    fn the_sample_response_of_rfc_5769_is_read() {
        let message = Message::parse(SAMPLE_RESPONSE).unwrap();
        assert_eq!(message.method, Method::Binding);
        assert_eq!(message.class, Class::Success);
        let mapped: Vec<_> = message.addresses(attribute::XOR_MAPPED_ADDRESS).collect();
        assert_eq!(mapped, [Some("192.0.2.1:32853".parse().unwrap())]);
        let mut mac = Hmac::<Sha1>::new_from_slice(b"VOkJxbRl1RmTxUk/WvJxBt").unwrap();
        let at = message.integrity_at.unwrap();
        update_with_length(&mut mac, &SAMPLE_RESPONSE[..at], at + 24 - HEADER_LENGTH);
        assert!(mac.verify_slice(message.get(attribute::MESSAGE_INTEGRITY).unwrap()).is_ok());
    }

    #[test]
    fn what_is_built_is_read_back_and_signed() {
        let key = long_term_key("name", "realm", "password");
        for address in ["198.51.100.7:5000", "[2001:db8::1]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let bytes = Builder::new(Method::CreatePermission, Class::Request, &[7; 12])
                .attribute(attribute::USERNAME, b"name")
                .address(attribute::XOR_PEER_ADDRESS, address)
                .finish(Some(&key));
            let message = Message::parse(&bytes).unwrap();
            assert_eq!((message.method, message.class), (Method::CreatePermission, Class::Request));
            assert_eq!(message.text(attribute::USERNAME), Some("name"));
            assert_eq!(message.addresses(attribute::XOR_PEER_ADDRESS).collect::<Vec<_>>(), [Some(address)]);
            assert!(message.verify(&key));
            assert!(!message.verify(&[0; 16]));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_never_panic() {
        let good = Builder::new(Method::Allocate, Class::Request, &[1; 12])
            .number(attribute::REQUESTED_TRANSPORT, 17 << 24)
            .finish(Some(&[3; 16]));
        for length in 0..good.len() {
            assert!(Message::parse(&good[..length]).is_err(), "{length} bytes");
        }
        // The fingerprint's own eight bytes are not signed: a damaged type there is just another attribute.
        for index in 0..good.len() - 8 {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[index] ^= 1 << bit;
                if let Ok(message) = Message::parse(&bad) {
                    assert!(!message.verify(&[3; 16]), "byte {index} bit {bit}");
                }
            }
        }
        assert_eq!(parse_channel_data(&[0x40, 0, 0, 5, 1, 2]), None);
        assert_eq!(parse_channel_data(&[0x40, 0, 0, 1, 9, 0, 0, 0]), Some((0x4000, &[9u8][..])));
    }
}
