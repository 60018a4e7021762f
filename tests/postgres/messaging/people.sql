-- People and conversations of the messaging tests. Names in braces stand for ids.
insert into public.users (id, full_name, username, role) values
    ('{ann}', 'Ann', 'ann', 'teacher'), ('{bob}', 'Bob', null, null), ('{carl}', 'Carl', null, null),
    ('{dan}', 'Dan', null, null), ('{eve}', 'Eve', null, null), ('{sue}', 'Sue', null, 'staff');
insert into public.customers (id, full_name) values ('{cus}', 'Cus'), ('{kim}', 'Kim');

-- Ann and Bob alone; Ann, Bob and Carl, who has left; a customer with no staff in it yet; Dan and Eve.
insert into public.conversations (id, kind, customer_id) values
    ('{direct}', 'direct', null), ('{group}', 'group', null), ('{support}', 'support', '{cus}'), ('{other}', 'direct', null);
insert into public.conversation_participants (conversation_id, user_id, customer_id) values
    ('{direct}', '{ann}', null), ('{direct}', '{bob}', null),
    ('{group}', '{ann}', null), ('{group}', '{bob}', null), ('{group}', '{carl}', null),
    ('{support}', null, '{cus}'),
    ('{other}', '{dan}', null), ('{other}', '{eve}', null);

insert into public.messages (id, conversation_id, sender_id, sender_customer_id, content) values
    ('{d1}', '{direct}', '{ann}', null, 'direct one'),
    ('{d2}', '{direct}', '{bob}', null, 'direct two'),
    ('{g1}', '{group}', '{ann}', null, 'group one'),
    ('{g2}', '{group}', '{carl}', null, 'group two'),
    ('{s1}', '{support}', null, '{cus}', 'support one'),
    ('{o1}', '{other}', '{dan}', null, 'other one');

insert into public.message_reactions (message_id, user_id, emoji) values ('{d1}', '{bob}', '+1'), ('{g1}', '{carl}', '+1');
insert into public.message_read_receipts (message_id, read_by_user_id) values ('{d1}', '{bob}'), ('{o1}', '{eve}');
insert into public.message_typing_indicators (conversation_id, user_id, customer_id, expires_at) values
    ('{direct}', '{bob}', null, 'infinity'), ('{group}', '{carl}', null, 'infinity'),
    ('{support}', null, '{cus}', 'infinity');
insert into public.user_presence (user_id, customer_id, status) values
    ('{ann}', null, 'online'), ('{bob}', null, 'busy'), ('{carl}', null, 'away'), ('{dan}', null, 'online'),
    (null, '{cus}', 'online');
insert into public.notification_preferences (user_id, email) values ('{ann}', false), ('{dan}', true);
update public.conversation_participants set left_at = now() where user_id = '{carl}';
