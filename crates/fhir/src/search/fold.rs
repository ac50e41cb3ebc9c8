//! Folding of text for search.

use unicode_normalization::UnicodeNormalization;

/// Lower case without combining diacritics, other scripts kept; what string search compares.
pub fn fold(text: &str) -> String {
    text.to_lowercase().nfd().filter(|c| !('\u{300}'..='\u{36f}').contains(c)).collect()
}
