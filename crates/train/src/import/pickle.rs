//! Pickles as data: a stack machine that knows no function, only what a scaler's file is made of.
//!
//! Q: Why not run what it says? A: A pickle may say `os.system`. Here every name it uses must be on a short list, and
//! objects are records of their class, arguments and state. Arrays follow joblib's wrapper object in the stream: a
//! byte of padding length, the padding, then the numbers.

use std::collections::HashMap;

use super::ImportError;
use super::keras::short;

/// Most nodes a pickle may make; a scaler has a few hundred.
const NODES_MAX: usize = 20_000;
/// Most numbers of one array.
const ARRAY_MAX: usize = 4096;

/// A name that may be used.
#[derive(Debug, PartialEq)]
pub(super) struct Class {
    module: &'static str,
    pub(super) name: &'static str,
}

const CLASSES: [Class; 13] = [
    Class { module: "sklearn.preprocessing._data", name: "MinMaxScaler" },
    Class { module: "sklearn.preprocessing._data", name: "StandardScaler" },
    Class { module: "sklearn.preprocessing.data", name: "MinMaxScaler" },
    Class { module: "sklearn.preprocessing.data", name: "StandardScaler" },
    Class { module: "joblib.numpy_pickle", name: "NumpyArrayWrapper" },
    Class { module: "sklearn.externals.joblib.numpy_pickle", name: "NumpyArrayWrapper" },
    Class { module: "numpy", name: "ndarray" },
    Class { module: "numpy", name: "dtype" },
    Class { module: "numpy._core.multiarray", name: "scalar" },
    Class { module: "numpy.core.multiarray", name: "scalar" },
    Class { module: "numpy", name: "float64" },
    Class { module: "numpy", name: "float32" },
    Class { module: "numpy", name: "int64" },
];

/// One value; others are named by their place among all nodes, so that what is shared stays shared.
#[derive(Debug)]
pub(super) enum Node {
    None,
    Int(i64),
    /// Truths, floats and byte strings, which a scaler has but nobody asks for.
    Other,
    Text(String),
    /// Tuples and lists.
    Items(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Class(&'static Class),
    Object {
        class: &'static Class,
        args: usize,
        state: Option<usize>,
    },
    Array(Vec<f64>),
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

impl Pickle {
    /// The value of `key` in a dictionary.
    pub(super) fn get(&self, dict: usize, key: &str) -> Option<usize> {
        let Node::Dict(pairs) = &self.nodes[dict] else { return None };
        // The last one counts, as in Python.
        let found = pairs.iter().rev().find(|(k, _)| matches!(&self.nodes[*k], Node::Text(t) if t == key));
        found.map(|&(_, v)| v)
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Pickle, ImportError> {
    let pickle = Pickle { nodes: Vec::new(), root: 0 };
    Machine { rest: bytes, pickle, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }.run()
}

struct Machine<'a> {
    rest: &'a [u8],
    pickle: Pickle,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<u32, usize>,
}

impl Machine<'_> {
    fn run(mut self) -> Result<Pickle, ImportError> {
        loop {
            let op = self.u8()?;
            match op {
                0x80 => drop(self.u8()?),    // protocol
                0x95 => drop(self.take(8)?), // frame
                b'.' => {
                    self.pickle.root = self.pop()?;
                    return Ok(self.pickle);
                }
                b'N' => self.push(Node::None)?,
                0x88 | 0x89 => self.push(Node::Other)?,
                b'K' => {
                    let v = self.u8()?;
                    self.push(Node::Int(i64::from(v)))?;
                }
                b'M' => {
                    let v = self.number(2)?;
                    self.push(Node::Int(v as i64))?;
                }
                b'J' => {
                    let v = self.number(4)? as u32 as i32;
                    self.push(Node::Int(i64::from(v)))?;
                }
                0x8a => {
                    let n = usize::from(self.u8()?);
                    let bytes = self.take(n)?;
                    let node = match n {
                        0 => Node::Int(0),
                        1..=8 => {
                            let fill = if bytes[n - 1] & 0x80 != 0 { 0xff } else { 0 };
                            let mut all = [fill; 8];
                            all[..n].copy_from_slice(bytes);
                            Node::Int(i64::from_le_bytes(all))
                        }
                        _ => Node::Other,
                    };
                    self.push(node)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Node::Other)?;
                }
                0x8c | b'U' => self.text(1)?,
                b'X' | b'T' => self.text(4)?,
                b'C' => self.bytes(1)?,
                b'B' => self.bytes(4)?,
                b')' | b']' => self.push(Node::Items(Vec::new()))?,
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b'(' => self.mark()?,
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Node::Items(items))?;
                }
                0x85..=0x87 => {
                    let n = usize::from(op - 0x84);
                    let mut items = Vec::new();
                    for _ in 0..n {
                        items.push(self.pop()?);
                    }
                    items.reverse();
                    self.push(Node::Items(items))?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(vec![key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(items)?;
                }
                0x94 => {
                    let n = self.memo.len() as u32;
                    self.keep(n)?;
                }
                b'q' => {
                    let n = self.number(1)?;
                    self.keep(n as u32)?;
                }
                b'r' => {
                    let n = self.number(4)?;
                    self.keep(n as u32)?;
                }
                b'h' => {
                    let n = self.number(1)?;
                    self.recall(n as u32)?;
                }
                b'j' => {
                    let n = self.number(4)?;
                    self.recall(n as u32)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.class(&module, &name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Text(module), Node::Text(name)) =
                        (&self.pickle.nodes[module], &self.pickle.nodes[name])
                    else {
                        return Err(bad("a name in it is no text"));
                    };
                    let (module, name) = (module.clone(), name.clone());
                    self.class(&module, &name)?;
                }
                0x81 | b'R' => {
                    let (args, class) = (self.pop()?, self.pop()?);
                    let Node::Class(class) = self.pickle.nodes[class] else {
                        return Err(bad("it makes an object of no class"));
                    };
                    self.push(Node::Object { class, args, state: None })?;
                }
                b'b' => self.build()?,
                _ => return Err(bad(&format!("it has the unexpected byte 0x{op:02x}"))),
            }
        }
    }

    /// Gives the object below the top its state; joblib's array follows in the stream.
    fn build(&mut self) -> Result<(), ImportError> {
        let state = self.pop()?;
        let object = *self.stack.last().ok_or_else(cut_off)?;
        let Node::Object { class, args, .. } = self.pickle.nodes[object] else {
            return Err(bad("it gives a state to what is no object"));
        };
        self.pickle.nodes[object] = if class.name == "NumpyArrayWrapper" {
            Node::Array(self.array(state)?)
        } else {
            Node::Object { class, args, state: Some(state) }
        };
        Ok(())
    }

    fn array(&mut self, state: usize) -> Result<Vec<f64>, ImportError> {
        let p = &self.pickle;
        let int = |id: usize| if let Node::Int(v) = p.nodes[id] { Some(v) } else { None };
        let text = |id: usize| if let Node::Text(t) = &p.nodes[id] { Some(t.as_str()) } else { None };
        let items = |id: usize| if let Node::Items(i) = &p.nodes[id] { Some(i.as_slice()) } else { None };
        let odd = || bad("an array in it is described oddly");
        let shape = p.get(state, "shape").and_then(items).ok_or_else(odd)?;
        let mut n = 1usize;
        for &dim in shape {
            let dim = int(dim).and_then(|d| usize::try_from(d).ok()).ok_or_else(odd)?;
            n = n
                .checked_mul(dim)
                .filter(|n| *n <= ARRAY_MAX)
                .ok_or_else(|| bad("an array in it is too large"))?;
        }
        let dtype = p.get(state, "dtype").ok_or_else(odd)?;
        let Node::Object { class: Class { name: "dtype", .. }, args, state: Some(order) } = p.nodes[dtype]
        else {
            return Err(odd());
        };
        let kind = items(args).and_then(|a| text(*a.first()?)).ok_or_else(odd)?;
        let order = items(order).and_then(|o| text(*o.get(1)?)).ok_or_else(odd)?;
        let width = match (kind, order) {
            ("f4" | "i4", "<") => 4,
            ("f8" | "i8", "<") => 8,
            _ => return Err(bad("an array in it holds no little-endian numbers")),
        };
        let kind = kind.to_string();
        // Older joblib aligned nothing and wrote no padding.
        let padded = p.get(state, "numpy_array_alignment_bytes").and_then(int).is_some();
        if padded {
            let n_padding = usize::from(self.u8()?);
            self.take(n_padding)?;
        }
        let data = self.take(n * width)?;
        let number = |b: &[u8]| match (kind.as_str(), b) {
            ("f4", &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            ("i4", &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
            ("f8", &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            ("i8", &[a, b, c, d, e, f, g, h]) => i64::from_le_bytes([a, b, c, d, e, f, g, h]) as f64,
            _ => f64::NAN,
        };
        Ok(data.chunks_exact(width).map(number).collect())
    }

    fn class(&mut self, module: &str, name: &str) -> Result<(), ImportError> {
        let known = CLASSES.iter().find(|c| c.module == module && c.name == name);
        let class = known.ok_or_else(|| ImportError::Hostile(short(&format!("{module}.{name}"))))?;
        self.push(Node::Class(class))
    }

    fn append(&mut self, more: Vec<usize>) -> Result<(), ImportError> {
        let list = *self.stack.last().ok_or_else(cut_off)?;
        let Node::Items(items) = &mut self.pickle.nodes[list] else {
            return Err(bad("it appends to no list"));
        };
        items.extend(more);
        Ok(())
    }

    fn set(&mut self, pairs: Vec<usize>) -> Result<(), ImportError> {
        let dict = *self.stack.last().ok_or_else(cut_off)?;
        let Node::Dict(entries) = &mut self.pickle.nodes[dict] else {
            return Err(bad("it sets an entry of no dictionary"));
        };
        entries.extend(pairs.chunks_exact(2).map(|p| (p[0], p[1])));
        Ok(())
    }

    fn mark(&mut self) -> Result<(), ImportError> {
        if self.marks.len() >= NODES_MAX {
            return Err(bad("it nests too deep"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, ImportError> {
        let at = self.marks.pop().filter(|at| *at <= self.stack.len()).ok_or_else(cut_off)?;
        Ok(self.stack.split_off(at))
    }

    fn keep(&mut self, n: u32) -> Result<(), ImportError> {
        let top = *self.stack.last().ok_or_else(cut_off)?;
        self.memo.insert(n, top);
        if self.memo.len() > NODES_MAX { Err(bad("it has too many parts")) } else { Ok(()) }
    }

    fn recall(&mut self, n: u32) -> Result<(), ImportError> {
        let node = *self.memo.get(&n).ok_or_else(|| bad("it refers to what it never made"))?;
        self.stack_up(node)
    }

    fn push(&mut self, node: Node) -> Result<(), ImportError> {
        if self.pickle.nodes.len() >= NODES_MAX {
            return Err(bad("it has too many parts"));
        }
        self.pickle.nodes.push(node);
        self.stack_up(self.pickle.nodes.len() - 1)
    }

    fn stack_up(&mut self, node: usize) -> Result<(), ImportError> {
        // Recalling costs two bytes and makes no node: the stack needs a limit of its own.
        if self.stack.len() >= NODES_MAX {
            return Err(bad("it nests too deep"));
        }
        self.stack.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<usize, ImportError> {
        self.stack.pop().ok_or_else(cut_off)
    }

    fn text(&mut self, width: usize) -> Result<(), ImportError> {
        let n = self.number(width)?;
        let bytes = self.take(n as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| bad("a text in it is not UTF-8"))?.to_string();
        self.push(Node::Text(text))
    }

    fn bytes(&mut self, width: usize) -> Result<(), ImportError> {
        let n = self.number(width)?;
        self.take(n as usize)?;
        self.push(Node::Other)
    }

    fn line(&mut self) -> Result<String, ImportError> {
        let end = self.rest.iter().take(256).position(|b| *b == b'\n').ok_or_else(cut_off)?;
        let line = self.take(end)?;
        let line = std::str::from_utf8(line).map_err(|_| bad("a name in it is not UTF-8"))?.to_string();
        self.take(1)?;
        Ok(line)
    }

    /// Little-endian, `width` ≤ 4 bytes.
    fn number(&mut self, width: usize) -> Result<u64, ImportError> {
        Ok(self.take(width)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn u8(&mut self) -> Result<u8, ImportError> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, n: usize) -> Result<&[u8], ImportError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(taken)
    }
}

fn cut_off() -> ImportError {
    bad("it is cut off or out of order")
}

fn bad(why: &str) -> ImportError {
    ImportError::Scaler(short(why))
}
