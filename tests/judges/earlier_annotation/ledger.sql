BEGIN TRANSACTION;
CREATE TABLE attempts (
  id TEXT PRIMARY KEY, key TEXT NOT NULL, time REAL NOT NULL, seconds REAL NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL,
  text TEXT, finish TEXT, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, dollars REAL NOT NULL, alternatives TEXT, raw TEXT
);
INSERT INTO "attempts" VALUES('42e212c90751483cafb413bdaee5ad3d','4934608636547e3830b3818a8875771f769359bf553a6c97bb1a529b5f421dec',1.79603874480051970479e+09,0.0,'reply','','{"feedback": "the dog is still there", "score": 3}','stop',1000,100,0.0,NULL,'');
INSERT INTO "attempts" VALUES('292c614118104407bc8731d1938daeb1','4980c8a4f5ed202d95ccc816c1ba20da6239c2ae0aafbbea0153f34b7e181a5e',1.79603874480134558682e+09,0.0,'reply','','{"feedback": "the dog is still there", "score": 3}','stop',1000,100,0.0,NULL,'');
INSERT INTO "attempts" VALUES('8addf5918bc14f6596865d75d71911a2','78b6790ed7a6881b35f8aa489bc15ec68fa082b211aec33c34b6df6097b130e2',1.79603874480180335042e+09,0.0,'reply','','I would rather not say.','stop',7,3,0.0,NULL,'');
INSERT INTO "attempts" VALUES('42f2687a1a26419faca6db2f20641995','ddc562df9bf2d1ca1a5fcf8c744a840242a42f1916790b222d9d653bb238c5f8',1.79603874480249452597e+09,0.0,'reply','','I would rather not say.','stop',7,3,0.0,NULL,'');
CREATE TABLE given_up (key TEXT NOT NULL, time REAL NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (key, time)) WITHOUT ROWID;
CREATE TABLE questions (
  key TEXT PRIMARY KEY, triplet TEXT NOT NULL, about TEXT NOT NULL, repeat INTEGER NOT NULL, again INTEGER NOT NULL,
  model TEXT NOT NULL, respondent TEXT NOT NULL, prompt TEXT NOT NULL, pictures TEXT NOT NULL, form TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "questions" VALUES('4934608636547e3830b3818a8875771f769359bf553a6c97bb1a529b5f421dec','t0','following',0,0,'scripted','scripted','b8952dd1693bfde2cb5076647b3764ece3dcc3f8a32cb5625e1401c0e0e46069','["da72aab6d3b3d2f0b51617df447674992bae84b376940c2ae9412fbdd277c16c", "80e07ddfb09fbae9898b21ed98f561135ddaf08ac23e530a795eeadf1a85b717"]','{"text": "feedback", "score": "score", "success": null, "count": 1, "max_score": 5.0, "nothing": "None"}');
INSERT INTO "questions" VALUES('4980c8a4f5ed202d95ccc816c1ba20da6239c2ae0aafbbea0153f34b7e181a5e','t0','preserving',0,0,'scripted','scripted','7f66823ca7cac5f93b29c29bf9b7b55e72de6a8f41c5684fa1e6f44e96656593','["da72aab6d3b3d2f0b51617df447674992bae84b376940c2ae9412fbdd277c16c", "80e07ddfb09fbae9898b21ed98f561135ddaf08ac23e530a795eeadf1a85b717"]','{"text": "feedback", "score": "score", "success": null, "count": 1, "max_score": 5.0, "nothing": "None"}');
INSERT INTO "questions" VALUES('78b6790ed7a6881b35f8aa489bc15ec68fa082b211aec33c34b6df6097b130e2','t0','quality',0,0,'scripted','scripted','0dc37a40448929a0074bbc8b739a62bb8a79352bc2ff93ec61657ec4bfed1678','["80e07ddfb09fbae9898b21ed98f561135ddaf08ac23e530a795eeadf1a85b717"]','{"text": "feedback", "score": "score", "success": null, "count": 1, "max_score": 5.0, "nothing": "None"}');
INSERT INTO "questions" VALUES('ddc562df9bf2d1ca1a5fcf8c744a840242a42f1916790b222d9d653bb238c5f8','t0','quality',0,1,'scripted','scripted','0dc37a40448929a0074bbc8b739a62bb8a79352bc2ff93ec61657ec4bfed1678','["80e07ddfb09fbae9898b21ed98f561135ddaf08ac23e530a795eeadf1a85b717"]','{"text": "feedback", "score": "score", "success": null, "count": 1, "max_score": 5.0, "nothing": "None"}');
CREATE TABLE rewards (key TEXT PRIMARY KEY, triplet TEXT NOT NULL, judge TEXT NOT NULL, questions TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "rewards" VALUES('f6f5c51572156bc909e07e4d55ec8701df8aecb07532e3737fd6cf65ee226ad4','t0','scripted','["4934608636547e3830b3818a8875771f769359bf553a6c97bb1a529b5f421dec", "4980c8a4f5ed202d95ccc816c1ba20da6239c2ae0aafbbea0153f34b7e181a5e", "78b6790ed7a6881b35f8aa489bc15ec68fa082b211aec33c34b6df6097b130e2", "ddc562df9bf2d1ca1a5fcf8c744a840242a42f1916790b222d9d653bb238c5f8"]');
CREATE TABLE rows (digest TEXT PRIMARY KEY, reward TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX attempts_by_key ON attempts (key);
COMMIT;
