#!/bin/bash
# A night of one base, on the clouds that this repository has credentials of. AWS gets a token of GitHub's, which lives for minutes: the
# file is written anew for as long as the night runs, and the SDK reads it whenever it needs it.
set -euo pipefail

clouds='[]'
add() { clouds=$(jq --compact-output --argjson one "$1" '. + [$one]' <<<"$clouds"); }
if [ -n "${AWS_ROLE_ARN:-}" ]; then
  AWS_WEB_IDENTITY_TOKEN_FILE=$(mktemp)
  export AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME="nightly-$GITHUB_RUN_ID"
  token() {
    # The header is read from a pipe: it stands in no argument.
    curl --silent --show-error --fail --retry 3 --header @- "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=sts.amazonaws.com" \
      <<<"Authorization: bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" | jq --raw-output --exit-status .value >"$AWS_WEB_IDENTITY_TOKEN_FILE.new"
    mv "$AWS_WEB_IDENTITY_TOKEN_FILE.new" "$AWS_WEB_IDENTITY_TOKEN_FILE"
  }
  token
  while sleep 240; do token || true; done &
  refresher=$!
  trap 'kill "$refresher" || true; rm -f "$AWS_WEB_IDENTITY_TOKEN_FILE"*' EXIT
  add "$(jq --null-input --arg regions "${REGIONS:-eu-central-1}" '{name: "aws", regions: ($regions | split(","))}')"
fi
[ -z "${HCLOUD_TOKEN:-}" ] || add '{"name": "hetzner"}'
[ "$clouds" != '[]' ] || add '{"name": "local"}'
jq --null-input --arg base "$BASE" --argjson clouds "$clouds" '{version: 1, bases: [$base], clouds: $clouds}' >nightly.yaml
npm run nightly
