//! Amounts of memory: `512m`, `1.5g`, `64kib`, plain bytes; and processor shares such as `1.5`.

/// Bytes, as docker writes them: an optional decimal fraction and a binary unit.
///
/// # Errors
/// Says what was expected when the text is not an amount, or does not fit 63 bits.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let refuse = || format!("'{text}' is not an amount of memory such as 512m or 1g");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.strip_prefix(digits).unwrap_or_default();
    let shift = match unit {
        "" | "b" => 0_u32,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(refuse()),
    };
    let (millionths, whole) = decimal(digits).ok_or_else(refuse)?;
    let total = (u128::from(whole) << shift)
        .checked_add((u128::from(millionths) << shift) / 1_000_000)
        .ok_or_else(refuse)?;
    i64::try_from(total)
        .map_err(|_too_large| format!("'{text}' is more memory than can be counted"))
}

/// A size of memory and swap together: bytes, or -1 for no limit.
///
/// # Errors
/// As [`bytes`].
pub(crate) fn bytes_or_unlimited(text: &str) -> Result<i64, String> {
    if text.trim() == "-1" {
        Ok(-1)
    } else {
        bytes(text)
    }
}

/// Processors, as a decimal number above zero; returned as microseconds in each 100 ms period.
///
/// # Errors
/// Says what was expected when the number is not one, is zero, or is finer than the kernel can do.
pub(crate) fn cpus(text: &str) -> Result<i64, String> {
    let refuse = || format!("'{text}' is not a number of processors such as 1.5");
    let (millionths, whole) = decimal(text.trim()).ok_or_else(refuse)?;
    let quota = u128::from(whole) * 100_000 + u128::from(millionths) / 10;
    match i64::try_from(quota) {
        Ok(quota) if quota >= 1_000 => Ok(quota),
        Ok(_) => Err(format!(
            "'{text}' processors is less than the smallest share, 0.01"
        )),
        Err(_) => Err(refuse()),
    }
}

/// A plain decimal number split into millionths and whole: no sign, no exponent, at least one digit.
fn decimal(text: &str) -> Option<(u32, u64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut millionths: u32 = 0;
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(6) {
        millionths = millionths * 10 + u32::from(digit - b'0');
    }
    Some((millionths, whole))
}
