//! Decodes a message, and accounts for the memory that the result takes.
//!
//! A header of two bytes on the wire becomes a hundred in memory, so the length of a message is a poor
//! measure of the memory that a check occupies while it waits for keys or for the store. Envoy limits the
//! number of headers only by its configuration (`max_headers_count`, 100 by default:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/protocol.proto#config-core-v3-httpprotocoloptions>),
//! so headers are counted by the memory that they take.

use std::collections::HashMap;

use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::Message as _;

use super::memory_budget::{ConnectionLoad, MemoryBudget};
use super::message::{Message, Unreadable};
use super::wire::{CheckRequest, HttpRequest};

/// The maximum memory for all parts of one message: as much as 40,000 headers take. A few of the largest
/// messages leave memory for others.
const PARTS: usize = 4 << 20;

/// The memory that every request has already reserved for its message and what it is decoded into: enough for
/// nearly all requests, so that they need no second reservation.
pub(super) const INCLUDED: usize = 4 << 10;

impl Message {
    /// Decodes the message, and reserves the memory for it and for the result that exceeds what each request
    /// reserves anyway.
    pub async fn decode(
        &mut self,
        budget: &MemoryBudget,
        load: &ConnectionLoad,
    ) -> Result<CheckRequest, Unreadable> {
        let request = self.decoded()?;
        let parts = parts(&request);
        if parts > PARTS + self.bytes.len() {
            return Err(Unreadable::TooManyParts(PARTS));
        }
        let own = match self.reservations.is_empty() {
            true => self.bytes.len(),
            false => 0,
        };
        if own + parts <= INCLUDED {
            return Ok(request);
        }
        let (reservation, request) = match budget.try_reserve(own + parts, load) {
            Some(reservation) => (reservation, request),
            None => {
                // A request that waits for memory must not occupy the memory that it waits for.
                drop(request);
                let reservation = budget.reserve(own + parts, load).await;
                (reservation.ok_or(Unreadable::NoMemory)?, self.decoded()?)
            }
        };
        self.reservations.push(reservation);
        Ok(request)
    }

    fn decoded(&self) -> Result<CheckRequest, Unreadable> {
        CheckRequest::decode(self.bytes.clone()).map_err(Unreadable::Undecodable)
    }
}

/// Returns the bytes that a decoded message takes in addition to its encoded bytes, which the headers only
/// reference.
fn parts(message: &CheckRequest) -> usize {
    let Some(attributes) = &message.attributes else {
        return 0;
    };
    let http = attributes.request.as_ref().and_then(|r| r.http.as_ref());
    let metadata = attributes.metadata_context.as_ref();
    of_list(&attributes.context_extensions)
        + http.map_or(0, of_headers)
        // A token's claims are later copied once more.
        + 2 * metadata.map_or(0, |m| of_map(&m.filter_metadata, of_struct))
}

fn of_headers(http: &HttpRequest) -> usize {
    let map = http.header_map.as_ref();
    of_list(&http.headers) + map.map_or(0, |map| of_list(&map.headers))
}

/// The recursion depth is bounded by the decoder of the message.
fn of_value(value: &Value) -> usize {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.capacity(),
        Some(Kind::StructValue(members)) => of_struct(members),
        Some(Kind::ListValue(list)) => {
            of_list(&list.values) + list.values.iter().map(of_value).sum::<usize>()
        }
        None | Some(Kind::NullValue(_) | Kind::NumberValue(_) | Kind::BoolValue(_)) => 0,
    }
}

fn of_struct(members: &Struct) -> usize {
    of_map(&members.fields, of_value)
}

fn of_list<T>(list: &Vec<T>) -> usize {
    list.capacity() * size_of::<T>()
}

fn of_map<V>(map: &HashMap<String, V>, of: impl Fn(&V) -> usize) -> usize {
    let members = map.iter().map(|(name, value)| name.capacity() + of(value));
    of_table(map) + members.sum::<usize>()
}

/// A hash table keeps an eighth of its slots free, and has one extra byte per slot.
fn of_table<V>(map: &HashMap<String, V>) -> usize {
    map.capacity() * 8 / 7 * (size_of::<(String, V)>() + 1)
}

#[cfg(test)]
mod tests {
    use super::super::message;
    use super::super::wire::{Attributes, Header, HeaderMap, Request};
    use super::*;
    use http_body_util::Full;
    use prost::bytes::{BufMut as _, Bytes, BytesMut};

    const MIB: usize = 1 << 20;

    fn with_headers(count: usize) -> Vec<u8> {
        let headers = vec![Header::default(); count];
        let http = HttpRequest {
            header_map: Some(HeaderMap { headers }),
            ..HttpRequest::default()
        };
        let request = Request { http: Some(http) };
        let attributes = Attributes {
            request: Some(request),
            ..Attributes::default()
        };
        let message = CheckRequest {
            attributes: Some(attributes),
        };
        message.encode_to_vec()
    }

    /// Reads and decodes a message that arrives at once.
    async fn decode(
        message: &[u8],
        budget: &MemoryBudget,
        load: &ConnectionLoad,
    ) -> Result<(Message, CheckRequest), Unreadable> {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(message);
        let body = Full::<Bytes>::new(frame.freeze());
        let mut message = message::read(body, MIB, budget, load).await?;
        let request = message.decode(budget, load).await?;
        Ok((message, request))
    }

    #[tokio::test]
    async fn a_message_counts_with_what_decoding_makes_of_it_as_long_as_it_is_held() {
        let (budget, load) = (MemoryBudget::new(4 * MIB, || {}), ConnectionLoad::default());
        let bytes = with_headers(10_000);
        let (message, request) = decode(&bytes, &budget, &load).await.unwrap();
        let least = bytes.len() + 10_000 * size_of::<Header>();
        assert!(
            (least..2 * least).contains(&load.bytes()),
            "{}",
            load.bytes()
        );
        drop(request);
        assert!(load.bytes() >= least);
        drop(message);
        assert_eq!(load.bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_for_memory_and_is_refused_when_none_gets_free() {
        let (budget, load) = (MemoryBudget::new(3 * MIB, || {}), ConnectionLoad::default());
        let bytes = with_headers(10_000);
        let first = decode(&bytes, &budget, &load).await.unwrap();
        let second = decode(&bytes, &budget, &load).await;
        assert!(matches!(second, Err(Unreadable::NoMemory)));
        let (second, _) = tokio::join!(decode(&bytes, &budget, &load), async { drop(first) });
        assert_eq!(second.unwrap().1, CheckRequest::decode(&*bytes).unwrap());
    }

    #[tokio::test]
    async fn a_message_of_more_parts_than_any_request_has_is_refused_without_closing_a_connection()
    {
        let budget = MemoryBudget::new(64 * MIB, || unreachable!("closes a connection"));
        let refused = decode(&with_headers(100_000), &budget, &ConnectionLoad::default()).await;
        assert!(matches!(refused, Err(Unreadable::TooManyParts(_))));
    }

    #[test]
    fn metadata_counts_with_all_that_is_nested_in_it() {
        use super::super::wire::Metadata;
        use envoy_types::pb::google::protobuf::ListValue;
        let null = Value { kind: None };
        let nulls = ListValue {
            values: vec![null; 1000],
        };
        let list = Value {
            kind: Some(Kind::ListValue(nulls)),
        };
        let claims = Struct {
            fields: [("list".to_owned(), list)].into(),
        };
        let metadata = Metadata {
            filter_metadata: [("jwt".to_owned(), claims)].into(),
        };
        let message = CheckRequest {
            attributes: Some(Attributes {
                metadata_context: Some(metadata),
                ..Attributes::default()
            }),
        };
        assert!(parts(&message) >= 2 * 1000 * size_of::<Value>());
    }
}
