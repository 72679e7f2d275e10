//! How values become payloads: JSON by itself, bytes and text as they are.

use super::Failure;

/// What can be a payload.
///
/// With the feature `json`, which is on by default, every type that serde can write is one, as JSON. [`Bytes`] and
/// [`Text`] are passed as they are. Implement it for your own types to write them in another way.
pub trait Encode {
    /// The payload. An error says why there is none.
    fn encode(&self) -> Result<Vec<u8>, String>;
}

/// What can be made of a payload.
///
/// With the feature `json`, which is on by default, every type that serde can read is one, from JSON; a payload of no
/// bytes counts as `null` there, so that `()` and `Option` can be made of it. [`Bytes`] and [`Text`] are what has come.
pub trait Decode: Sized {
    /// The value. An error says why the payload is none.
    fn decode(payload: Vec<u8>) -> Result<Self, String>;
}

/// A payload as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

/// A payload that is text, in UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(pub String);

impl Encode for Bytes {
    fn encode(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }
}

impl Decode for Bytes {
    fn decode(payload: Vec<u8>) -> Result<Self, String> {
        Ok(Self(payload))
    }
}

impl Encode for Text {
    fn encode(&self) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }
}

impl Decode for Text {
    fn decode(payload: Vec<u8>) -> Result<Self, String> {
        String::from_utf8(payload)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

#[cfg(feature = "json")]
impl<T: serde::Serialize + ?Sized> Encode for T {
    fn encode(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

#[cfg(feature = "json")]
impl<T: serde::de::DeserializeOwned> Decode for T {
    fn decode(payload: Vec<u8>) -> Result<Self, String> {
        let json: &[u8] = if payload.is_empty() {
            b"null"
        } else {
            &payload
        };
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}

#[cfg(not(feature = "json"))]
impl Encode for () {
    fn encode(&self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }
}

#[cfg(not(feature = "json"))]
impl Decode for () {
    fn decode(_: Vec<u8>) -> Result<Self, String> {
        Ok(())
    }
}

/// Writes a value; that it cannot be written is final.
pub(super) fn encode(value: &(impl Encode + ?Sized)) -> Result<Vec<u8>, Failure> {
    value
        .encode()
        .map_err(|error| Failure::new(format!("a payload cannot be written: {error}")))
}

/// Reads a value; that it cannot be read is final.
pub(super) fn decode<T: Decode>(payload: Vec<u8>) -> Result<T, Failure> {
    T::decode(payload)
        .map_err(|error| Failure::new(format!("a payload is not what was expected: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_are_passed_as_they_are() {
        assert_eq!(encode(&Bytes(vec![0, 255])).unwrap(), [0, 255]);
        assert_eq!(decode::<Bytes>(vec![0, 255]).unwrap(), Bytes(vec![0, 255]));
        assert_eq!(encode(&Text("a\"b".into())).unwrap(), b"a\"b");
        assert_eq!(decode::<Text>(b"ab".to_vec()).unwrap(), Text("ab".into()));
    }

    #[test]
    fn text_that_is_none_is_a_failure() {
        let failure = decode::<Text>(vec![0xff]).unwrap_err();
        assert!(failure.message.starts_with("a payload is not what"));
    }

    #[cfg(feature = "json")]
    #[test]
    fn what_serde_can_read_is_json() {
        assert_eq!(encode(&vec![1, 2]).unwrap(), b"[1,2]");
        assert_eq!(encode("text").unwrap(), b"\"text\"");
        assert_eq!(decode::<Vec<u8>>(b" [1, 2]".to_vec()).unwrap(), [1, 2]);
        assert!(decode::<u32>(b"\"x\"".to_vec()).is_err());
    }

    #[test]
    fn no_bytes_are_nothing() {
        decode::<()>(Vec::new()).unwrap();
        #[cfg(feature = "json")]
        assert_eq!(decode::<Option<u32>>(Vec::new()).unwrap(), None);
    }
}
