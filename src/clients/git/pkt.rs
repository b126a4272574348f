//! Git's packets ("pkt-lines"): four hexadecimal digits of length, followed by the content.

use std::fmt::Write as _;

use bytes::{Buf as _, Bytes, BytesMut};

/// Maximum length of a packet in git's protocol, length digits included.
const MAX_PACKET_BYTES: usize = 65_520;

/// One packet of git's protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// `0000`: end of a message.
    Flush,
    /// `0001`: end of a section.
    Delimiter,
    /// `0002`: end of a response on a connection that carries several.
    End,
    /// Content without its length digits.
    Data(Bytes),
}

/// Bytes that do not form valid packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not in git's protocol")]
pub(super) struct NotAPacket;

/// Splits a byte stream into packets. Buffers at most one incomplete packet, as long as the caller takes all packets after each piece.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Returns the next packet; `None` while it is incomplete.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, NotAPacket> {
        let Some(digits) = self.buffer.get(..4) else { return Ok(None) };
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        let digits = std::str::from_utf8(digits).ok().filter(|_| is_hex).ok_or(NotAPacket)?;
        let length = usize::from_str_radix(digits, 16).map_err(|_| NotAPacket)?;
        let special = match length {
            0 => Packet::Flush,
            1 => Packet::Delimiter,
            2 => Packet::End,
            3 => return Err(NotAPacket),
            length if length > MAX_PACKET_BYTES => return Err(NotAPacket),
            length if self.buffer.len() < length => return Ok(None),
            length => {
                let mut packet = self.buffer.split_to(length);
                packet.advance(4);
                return Ok(Some(Packet::Data(packet.freeze())));
            }
        };
        self.buffer.advance(4);
        Ok(Some(special))
    }

    /// Reports whether no incomplete packet is buffered.
    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Appends `line` as a packet; requests are a handful of short lines.
pub(super) fn line(request: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = write!(request, "{:04x}{line}", line.len() + 4);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], piece: usize) -> Result<Vec<Packet>, NotAPacket> {
        let (mut decoder, mut packets) = (Decoder::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            decoder.push(piece);
            while let Some(packet) = decoder.next()? {
                packets.push(packet);
            }
        }
        assert!(decoder.is_empty());
        Ok(packets)
    }

    #[test]
    fn decodes_packets_from_any_pieces() {
        let expected =
            [Packet::Data("abc\n".into()), Packet::Delimiter, Packet::Data(Bytes::new()), Packet::Flush, Packet::End];
        for piece in 1..=24 {
            assert_eq!(all(b"0008abc\n0001000400000002", piece).unwrap(), expected);
        }
    }

    #[test]
    fn rejects_invalid_lengths() {
        for bytes in ["0003", "fff1", "ffff", "+00a", " 00a", "zzzz", "<htm", "é00a"] {
            assert_eq!(all(bytes.as_bytes(), 64), Err(NotAPacket), "{bytes}");
        }
    }

    #[test]
    fn encodes_length_of_line() {
        let mut request = String::new();
        line(&mut request, "peel\n");
        assert_eq!(request, "0009peel\n");
    }
}
