// The forms of Cloudflare's requests that we send, of the official SDK's types. generate.ts makes schemas.json of them.
import type { BotManagementUpdateParams } from 'cloudflare/resources/bot-management/bot-management.js';
import type { RecordCreateParams } from 'cloudflare/resources/dns/records.js';
import type { OriginCACertificateCreateParams } from 'cloudflare/resources/origin-ca-certificates/origin-ca-certificates.js';
import type { SettingUpdateParams } from 'cloudflare/resources/origin-tls-client-auth/settings.js';
import type { ZoneCertificateCreateParams } from 'cloudflare/resources/origin-tls-client-auth/zone-certificates.js';
import type { ItemUpdateParams } from 'cloudflare/resources/rules/lists/items.js';
import type { ListCreateParams } from 'cloudflare/resources/rules/lists/lists.js';
import type { PhaseUpdateParams } from 'cloudflare/resources/rulesets/phases/phases.js';
import type { ApplicationCreateParams } from 'cloudflare/resources/zero-trust/access/applications/applications.js';
import type { PolicyCreateParams } from 'cloudflare/resources/zero-trust/access/policies.js';
import type {
  MinTLSVersion,
  SecurityHeaders,
  SSL,
  TLS1_3,
  Websocket,
  ZeroRTT,
} from 'cloudflare/resources/zones/settings.js';

export interface Wanted {
  dnsRecord: RecordCreateParams.ARecord | RecordCreateParams.AAAARecord | RecordCreateParams.CNAMERecord;
  bots: BotManagementUpdateParams.BotFightModeConfiguration;
  originCertificate: OriginCACertificateCreateParams;
  clientCertificate: ZoneCertificateCreateParams;
  clientAuth: SettingUpdateParams;
  list: ListCreateParams;
  listItems: ItemUpdateParams;
  phase: PhaseUpdateParams;
  application: ApplicationCreateParams.SelfHostedApplication;
  policy: PolicyCreateParams;
  ssl: SSL['value'];
  min_tls_version: MinTLSVersion['value'];
  tls_1_3: TLS1_3['value'];
  '0rtt': ZeroRTT['value'];
  websockets: Websocket['value'];
  security_header: SecurityHeaders['value'];
}
