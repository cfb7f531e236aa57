#!/usr/bin/env bash
# Sends webhooks with curl, signed with openssl.
#
# usage: send.sh cycles|hmac URL SECRET COUNT
#
# Prints a line for each request, as send.py does. `hmac` signs SECONDS.BODY with SHA-512 and writes base64.
set -euo pipefail
scheme=$1 url=$2 secret=$3 count=$4
few=5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

send() { # kind, number, secret, age, what is added to the body
  local time
  time=$(($(date +%s) - $4))
  printf '{"event_id":"evt_%s","event_type":"reservation.denied","tenant_id":"acme","name":"Zoë"}' "$2" > "$work/body"
  if [ "$scheme" = cycles ]; then
    set -- "$@" -H "X-Cycles-Signature: sha256=$(openssl dgst -sha256 -hmac "$3" < "$work/body" | sed 's/.* //')"
  else
    local code
    code=$({ printf '%s.' "$time"; cat "$work/body"; } | openssl dgst -sha512 -hmac "$3" -binary | openssl base64 -A)
    set -- "$@" -H "X-Shop-Signature: sha512 $code" -H "X-Shop-Time: $time"
  fi
  printf '%s' "$5" >> "$work/body"
  printf '%s ' "$1"
  curl --silent --show-error --max-time 30 -o "$work/answer" -w '%{http_code} ' -H 'Content-Type: application/json' "${@:6}" \
    --data-binary "@$work/body" "$url"
  cat "$work/answer"
  echo
}

for ((n = 0; n < count; n++)); do send event "$n" "$secret" 0 ''; done
for ((n = 0; n < count; n++)); do send again "$n" "$secret" 0 ''; done
for ((n = count; n < count + few; n++)); do
  send forged "$n" nobody-here-has-ever-seen-this 0 ''
  send changed "$n" "$secret" 0 ' '
  if [ "$scheme" = hmac ]; then send stale "$n" "$secret" 3600 ''; fi
done
