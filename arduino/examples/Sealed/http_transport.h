// Frames over HTTP: `POST /v1/frames`, joins to `POST /v1/join`. The answer's body is the sealed answer.
//
// Plain HTTP: frames are sealed and their answers too, so somebody in the path sees which board speaks, when, and how
// much, and can hold frames up, but neither reads nor forges. mqtt_transport.h has TLS.
#pragma once

#include <HTTPClient.h>
#include <WiFi.h>

#include "transport.h"

class HttpTransport : public Transport {
 public:
  bool begin(const Settings &settings) override {
    server_ = settings.server();
    return server_.startsWith("http://");
  }

  bool send(kgl_what what, const uint8_t *frame, size_t len) override {
    static const char *wanted[] = {"kinglet-refused"};
    HTTPClient http;
    String url = server_;
    url += what == KGL_WHAT_JOIN ? "/v1/join" : "/v1/frames";
    answer_len_ = 0;
    if (!http.begin(client_, url)) {
      return false;
    }
    http.setTimeout(10000);
    http.addHeader("Content-Type", "application/vnd.kinglet.frame");
    http.collectHeaders(wanted, 1);
    const int status = http.POST(const_cast<uint8_t *>(frame), len);
    is_join_required_ = http.header("kinglet-refused").indexOf("join_required") >= 0;
    // A sealed answer comes with its length; anything else is no answer for the node.
    const int body_len = http.getSize();
    if (body_len > 0 && static_cast<size_t>(body_len) <= sizeof answer_) {
      answer_len_ = http.getStreamPtr()->readBytes(answer_, static_cast<size_t>(body_len));
    }
    http.end();
    return status == 200;
  }

  size_t receive(uint8_t *out, size_t room) override {
    const size_t len = answer_len_ <= room ? answer_len_ : 0;
    memcpy(out, answer_, len);
    answer_len_ = 0;
    return len;
  }

 private:
  WiFiClient client_;
  String server_;
  uint8_t answer_[256];
  size_t answer_len_ = 0;
};
