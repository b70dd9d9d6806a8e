"""A local server that checks requests as vLLM 0.33 does and answers with a tiny checkpoint.

What it accepts, refuses and returns follows vLLM's `ChatCompletionRequest`, `TokenizeRequest`,
`SamplingParams`, image loading and V1 sampler. The prompt is rendered by the checkpoint's chat
template in transformers, and encoded by transformers' own processor.
"""

import base64
import contextlib
import io
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from PIL import Image, ImageOps

from qsit_ray.prompts import PAPER

MODEL = "tiny"
KINDS = {
    "model": str, "messages": list, "max_tokens": int, "temperature": (int, float),
    "repetition_penalty": float, "presence_penalty": float, "frequency_penalty": float,
    "logprobs": bool, "top_logprobs": int, "continue_final_message": bool,
    "add_generation_prompt": bool, "logprob_token_ids": list, "allowed_token_ids": list,
    "return_tokens_as_token_ids": bool, "prompt_logprobs": int,
}  # fmt: skip
TOKENIZE = {
    "model": str, "messages": list, "prompt": str, "add_special_tokens": bool,
    "continue_final_message": bool, "add_generation_prompt": bool,
}  # fmt: skip
VOCABULARY = 768


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Server:
    """`act(number, body)` may answer the chat request of that number, from 1, in the model's
    place: with a status, bytes, a body, "close" or None. `model`: the name it serves. `old`: a vLLM
    without `logprob_token_ids`; `mode`: its --logprobs-mode. `tokenizes`: whether it has /tokenize.
    `key`: of its --api-key. `template`: of its --chat-template."""

    def __init__(
        self, checkpoint, act=lambda number, body: None, *,
        model=MODEL, old=False, mode="raw_logprobs", tokenizes=True, key="", template=None,
    ):  # fmt: skip
        self.checkpoint, self.act, self.model = checkpoint, act, model
        self.old, self.mode, self.tokenizes, self.key = old, mode, tokenizes, key
        self.template = template
        self.requests, self.most_at_once = [], 0
        self._at_once = 0
        self._lock, self._computing = threading.Lock(), threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer._at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer._at_once)
                status, data = outer.answer(self.path, self.headers.get("Authorization"), body)
                with outer._lock:
                    outer._at_once -= 1
                if status == "close":
                    # Without a word, as a process that was killed.
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    return
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Retry-After", "0.01")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path, authorization, body):
        try:
            if self.key and authorization != f"Bearer {self.key}":
                raise Refused(401, f"Unauthorized: {authorization}")
            if path == "/tokenize" and self.tokenizes:
                found = self.tokenize(body)
            elif path == "/v1/chat/completions":
                with self._lock:
                    self.requests.append(body)
                    number = len(self.requests)
                found = self.act(number, body)
                if found == "close":
                    return "close", b""
                if isinstance(found, int):
                    raise Refused(found, "not now")
                if isinstance(found, bytes):
                    return 200, found
                found = found or self.chat(body)
            else:
                raise Refused(404, "Not Found")
            return 200, json.dumps(found).encode()
        except Refused as error:
            message = {"message": str(error), "type": "BadRequestError", "code": error.status}
            return error.status, json.dumps({"error": message}).encode()

    def tokenize(self, body):
        check(body, TOKENIZE)
        if "prompt" in body:
            tokens = self.ids(body["prompt"])
        else:
            tokens = self.encoded(body)["input_ids"][0].tolist()
        return {"count": len(tokens), "max_model_len": 1024, "tokens": tokens, "token_strs": None}

    def ids(self, text):
        tokenizer = self.checkpoint.processor.tokenizer
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def encoded(self, body):
        """The rendered prompt and its image, by transformers."""
        going_on = body.get("continue_final_message", False)
        adding = body.get("add_generation_prompt", True)
        if going_on and adding:
            raise Refused(400, "Cannot set both continue_final_message and add_generation_prompt")
        messages, images = [], []
        for message in body["messages"]:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            read = []
            for part in parts:
                if part["type"] == "image_url":
                    images.append(picture(part["image_url"]["url"]))
                    read.append({"type": "image"})
                else:
                    read.append({"type": "text", "text": part["text"]})
            messages.append({"role": message["role"], "content": read})
        processor = self.checkpoint.processor
        text = processor.tokenizer.apply_chat_template(
            messages, tokenize=False, chat_template=self.template,
            continue_final_message=going_on, add_generation_prompt=adding,
        )  # fmt: skip
        return processor(images=images, text=text, return_tensors="pt")

    def chat(self, body):
        check(body, KINDS)
        if body["model"] != self.model:
            raise Refused(404, f"The model `{body['model']}` does not exist.")
        restricted = None if self.old else body.get("logprob_token_ids")
        if body.get("top_logprobs", 0) and not body.get("logprobs"):
            raise Refused(400, "when using `top_logprobs`, `logprobs` must be set to true.")
        if restricted and not body.get("logprobs"):
            raise Refused(400, "when using `logprob_token_ids`, `logprobs` must be set to true.")
        if body.get("top_logprobs", 0) > 20:
            raise Refused(400, "Requested sample logprobs greater than max allowed: 20")
        for name in ("logprob_token_ids", "allowed_token_ids"):
            if not all(0 <= token < VOCABULARY for token in body.get(name, [])):
                raise Refused(400, f"{name} contains out-of-vocab token id!")
        inputs = self.encoded(body)
        model = self.checkpoint.model
        asked = inputs["input_ids"].shape[1]
        with self._computing, torch.no_grad():
            logits = model(**inputs).logits[0].double()
            most = body["max_tokens"]
            if most == 1:
                found = torch.cat([inputs["input_ids"][0], self.next_token(logits[-1], body)])
            else:
                found = model.generate(**inputs, do_sample=False, max_new_tokens=most)[0]
        new = found[asked:].tolist()
        tokenizer = self.checkpoint.processor.tokenizer
        ended = new[-1] == tokenizer.eos_token_id
        choice = {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": tokenizer.decode(new, skip_special_tokens=True),
            },
            "finish_reason": "stop" if ended else "length",
            "logprobs": None,
        }
        if body.get("logprobs"):
            first = self.alternatives(logits[-1], new[0], body, restricted)
            choice["logprobs"] = {"content": [first]}
        reply = {"id": "x", "object": "chat.completion", "model": self.model, "choices": [choice]}
        counted = {"prompt_tokens": inputs["input_ids"].shape[1], "completion_tokens": len(new)}
        reply["usage"] = counted
        if body.get("prompt_logprobs") is not None:
            shares = logits.log_softmax(dim=-1)
            ids = inputs["input_ids"][0].tolist()
            reply["prompt_logprobs"] = [None] + [
                {str(token): {"logprob": float(shares[at, token]), "rank": 1}}
                for at, token in enumerate(ids[1:])
            ]
        return reply

    def next_token(self, logits, body):
        return masked(logits, body).argmax()[None]

    def alternatives(self, logits, sampled, body, restricted):
        logits = masked(logits, body) if self.mode == "processed_logprobs" else logits
        shares = logits.log_softmax(dim=-1)
        chosen = restricted or shares.topk(body["top_logprobs"]).indices.tolist()

        def entry(token):
            text = self.checkpoint.processor.tokenizer.decode([token])
            if body.get("return_tokens_as_token_ids"):
                text = f"token_id:{token}"
            value = max(float(shares[token]), -9999.0)
            return {"token": text, "logprob": value, "bytes": list(text.encode())}

        every = [sampled, *(token for token in chosen if token != sampled)]
        return {**entry(sampled), "top_logprobs": [entry(token) for token in every]}


def masked(logits, body):
    allowed = body.get("allowed_token_ids")
    if allowed is None:
        return logits
    found = torch.full_like(logits, -torch.inf)
    found[allowed] = logits[allowed]
    return found


def check(body, kinds):
    for name, value in body.items():
        if name not in kinds:
            raise Refused(400, f"{name}: no field of vLLM's")
        if not isinstance(value, kinds[name]):
            raise Refused(400, f"{name}: {value!r}")


def picture(url):
    """An image as vLLM loads it: turned by EXIF, transparent pixels over white."""
    head, _, data = url.partition(",")
    if head not in {f"data:image/{kind};base64" for kind in ("jpeg", "png", "webp")}:
        raise Refused(400, f"an image of another form: {head}")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    if image.format.lower() != head[len("data:image/") : -len(";base64")]:
        raise Refused(400, f"{head} with the bytes of a {image.format}")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.split()[3])
        return white
    return image.convert("RGB")


def completion(logprobs, text=" fair"):
    """A chat completion with these log-probabilities, {token: value}."""
    entries = [{"token": name, "logprob": value} for name, value in logprobs.items()]
    content = [{**entries[0], "top_logprobs": entries}] if entries else []
    message = {"role": "assistant", "content": text}
    choice = {"message": message, "finish_reason": "length", "logprobs": {"content": content}}
    return {"choices": [choice]}


def planted_levels(values):
    """A completion whose level words have these log-probabilities, bad first."""
    return completion({f" {word}": value for word, value in zip(PAPER.words, values, strict=True)})
