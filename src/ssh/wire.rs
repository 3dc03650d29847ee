//! The data types of RFC 4251 section 5: one [`Reader`] that cannot run past its end, one [`Sink`] that everything is written to.
//!
//! No function here panics, whatever the bytes: a length is compared with what is there before it is used.

use ring::digest;

/// The bytes end before the value does, or the value is not in its canonical form.
///
/// Deliberately without content: it is returned from every accessor, and who is at fault is known one level up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads values from the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader of all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `byte[n]`
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = tail;
        Ok(head)
    }

    /// `byte[N]` as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = tail;
        Ok(*head)
    }

    /// `byte`
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// `boolean`: any value but 0 is true.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        self.byte().map(|byte| byte != 0)
    }

    /// `uint32`
    pub fn uint32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// `uint64`
    pub fn uint64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// `string`: a length and that many bytes.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.uint32()?;
        self.bytes(usize::try_from(length).map_err(|_| Malformed)?)
    }

    /// `mpint` that must be positive or zero and in the shortest form, as big-endian bytes without leading zero.
    pub fn mpint(&mut self) -> Result<&'a [u8], Malformed> {
        match self.string()? {
            [] => Ok(&[]),
            [0, rest @ ..] if rest.first().is_some_and(|byte| byte & 0x80 != 0) => Ok(rest),
            [first, ..] if *first == 0 || first & 0x80 != 0 => Err(Malformed),
            all => Ok(all),
        }
    }

    /// `name-list`
    pub fn name_list(&mut self) -> Result<NameList<'a>, Malformed> {
        let text = core::str::from_utf8(self.string()?).map_err(|_| Malformed)?;
        if !text.is_ascii() {
            return Err(Malformed);
        }
        Ok(NameList(text))
    }

    /// Succeeds when nothing is left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// `name-list`: names separated by commas, in US-ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameList<'a>(pub &'a str);

impl<'a> NameList<'a> {
    /// The names in the sender's order of preference.
    pub fn names(self) -> impl Iterator<Item = &'a str> {
        self.0.split(',').filter(|name| !name.is_empty())
    }

    /// Whether `name` is on the list.
    pub fn contains(self, name: &str) -> bool {
        self.names().any(|listed| listed == name)
    }
}

/// Takes bytes in order: a packet under construction, a vector, or a running hash.
pub trait Sink {
    /// Appends `bytes` as they are.
    fn put(&mut self, bytes: &[u8]);

    /// `byte`
    fn byte(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// `boolean`
    fn boolean(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    /// `uint32`
    fn uint32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// `uint64`
    fn uint64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// `string`
    fn string(&mut self, bytes: &[u8]) {
        // Nothing that we send comes near 4 GiB; saturating keeps the codec free of panics.
        self.uint32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
    }

    /// `mpint` of a number that is not negative, given as big-endian bytes with or without leading zeros.
    fn mpint(&mut self, bytes: &[u8]) {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let bytes = bytes.get(zeros..).unwrap_or_default();
        let sign = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        self.uint32(u32::try_from(bytes.len() + usize::from(sign)).unwrap_or(u32::MAX));
        if sign {
            self.byte(0);
        }
        self.put(bytes);
    }

    /// `name-list`
    fn name_list<'a>(&mut self, names: impl Iterator<Item = &'a str> + Clone)
    where
        Self: Sized,
    {
        let text: usize = names.clone().map(str::len).sum();
        let commas = names.clone().count().saturating_sub(1);
        self.uint32(u32::try_from(text + commas).unwrap_or(u32::MAX));
        for (index, name) in names.enumerate() {
            if index > 0 {
                self.byte(b',');
            }
            self.put(name.as_bytes());
        }
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for digest::Context {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Writes into a slice of fixed size and remembers whether it was large enough.
#[derive(Debug)]
pub struct SliceWriter<'a> {
    buffer: &'a mut [u8],
    length: usize,
    overflow: bool,
}

impl<'a> SliceWriter<'a> {
    /// A writer at the start of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        SliceWriter { buffer, length: 0, overflow: false }
    }

    /// How much was written, or `None` when it did not fit.
    pub fn finish(self) -> Option<usize> {
        (!self.overflow).then_some(self.length)
    }
}

impl Sink for SliceWriter<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.buffer.get_mut(self.length..end) {
            Some(space) if !self.overflow => {
                space.copy_from_slice(bytes);
                self.length = end;
            }
            _ => self.overflow = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    }

    /// The examples of RFC 4251 section 5 that are not negative.
    #[test]
    fn mpint_examples_of_rfc_4251() {
        let cases: [(&[u8], &[u8]); 3] = [
            (&[], &[0, 0, 0, 0]),
            (&[0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7], b"\0\0\0\x08\x09\xa3\x78\xf9\xb2\xe3\x32\xa7"),
            (&[0x80], &[0, 0, 0, 2, 0, 0x80]),
        ];
        for (number, encoded) in cases {
            assert_eq!(written(|w| w.mpint(number)), encoded);
            assert_eq!(Reader::new(encoded).mpint(), Ok(number));
        }
        assert_eq!(
            written(|w| w.mpint(&[0, 0, 0x80])),
            [0, 0, 0, 2, 0, 0x80],
            "leading zeros are not part of the number"
        );
    }

    #[test]
    fn mpint_that_is_negative_or_padded_is_refused() {
        for encoded in
            [&b"\0\0\0\x02\xed\xcc"[..], b"\0\0\0\x05\xff\x21\x52\x41\x11", b"\0\0\0\x02\0\x7f", b"\0\0\0\x01\0"]
        {
            assert_eq!(Reader::new(encoded).mpint(), Err(Malformed), "{encoded:?}");
        }
    }

    /// The examples of RFC 4251 section 5.
    #[test]
    fn name_list_examples_of_rfc_4251() {
        let cases: [(&[&str], &[u8]); 3] =
            [(&[], b"\0\0\0\0"), (&["zlib"], b"\0\0\0\x04zlib"), (&["zlib", "none"], b"\0\0\0\x09zlib,none")];
        for (names, encoded) in cases {
            assert_eq!(written(|w| w.name_list(names.iter().copied())), encoded);
            let list = Reader::new(encoded).name_list().unwrap();
            assert!(list.names().eq(names.iter().copied()));
        }
        assert_eq!(Reader::new(b"\0\0\0\x02\xc3\xa4").name_list(), Err(Malformed), "names are US-ASCII");
    }

    #[test]
    fn slice_writer_says_when_it_is_full() {
        let mut space = [0; 8];
        let mut writer = SliceWriter::new(&mut space);
        writer.string(b"1234");
        assert_eq!(writer.finish(), Some(8));
        let mut writer = SliceWriter::new(&mut space);
        writer.string(b"12345");
        writer.byte(1);
        assert_eq!(writer.finish(), None, "a later short write does not hide the overflow");
    }

    proptest! {
        #[test]
        fn reader_never_runs_past_its_end(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() {
                let before = reader.rest().len();
                if reader.string().is_err() && reader.byte().is_err() {
                    break;
                }
                prop_assert!(reader.rest().len() < before);
            }
            let _ = Reader::new(&bytes).mpint();
            let _ = Reader::new(&bytes).name_list();
        }

        #[test]
        fn strings_and_numbers_survive(text: Vec<u8>, a: u32, b: u64, flag: bool) {
            let bytes = written(|w| { w.string(&text); w.uint32(a); w.uint64(b); w.boolean(flag); w.mpint(&text) });
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.string(), Ok(&text[..]));
            prop_assert_eq!(reader.uint32(), Ok(a));
            prop_assert_eq!(reader.uint64(), Ok(b));
            prop_assert_eq!(reader.boolean(), Ok(flag));
            let zeros = text.iter().take_while(|byte| **byte == 0).count();
            prop_assert_eq!(reader.mpint(), Ok(&text[zeros..]));
            prop_assert_eq!(reader.end(), Ok(()));
        }
    }
}
