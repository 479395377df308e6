#!/usr/local/cpanel/3rdparty/bin/perl
# The front: asks cPanel who is there, relays the request to the service, puts WHM's page around HTML answers.
# cPanel's modules do not run in taint mode; instead nothing of the request is used that pick() did not let through.
BEGIN { delete @ENV{qw(REMOTE_PASSWORD HTTP_AUTHORIZATION)} }    # before any other code runs
BEGIN { unshift @INC, '/usr/local/cpanel' }

use strict;
use warnings;
use Whostmgr::ACLS ();

my ( $PAGE, $ICON ) = qw(/cgi/ocsp-stapling/index.cgi /addon_plugins/ocsp-stapling.png);
my $SOCKET = '/run/ocsp-stapling/web.sock';
my ( $AF_UNIX, $SOCK_STREAM ) = ( 1, 1 );    # Linux's; the modules Socket and lib would be a fifth of the front's time
my ( $BODY_LIMIT, $ANSWER_LIMIT ) = ( 1024 * 1024, 16 * 1024 * 1024 );    # bytes
my ( $BODY_TIME, $ANSWER_TIME ) = ( 15, 40 );                             # seconds
my $QUERY     = qr/[!\$-;=?-\[\]-~]{0,8192}/;    # no space, line end, quote, number sign, angle bracket
my @PASSED_ON = qw(Content-Type Content-Disposition Content-Security-Policy Cache-Control Referrer-Policy);

$SIG{PIPE} = 'IGNORE';
my $caller  = who();
my $service = within( $ANSWER_TIME, \&ask, request($caller) );
my $chrome  = $service && page_is_likely() ? chrome() : undef;    # WHM's page is made while the service works
my $answer  = within( $ANSWER_TIME, \&heard, $service )
  // refuse( '503 Service Unavailable', 'service-down', 'The OCSP Stapling service does not answer. A change that '
      . 'was begun goes on by itself. Log in to this server with ssh as root and run: ocsp-stapling doctor '
      . '(what is wrong with the plugin) and ocsp-stapling status (how things stand).' );
deliver( $answer, $caller, $chrome );

# The value if it matches as a whole, else undef.
sub pick {
    my ( $value, $pattern ) = @_;
    return defined $value && $value =~ /\A($pattern)\z/ ? $1 : undef;
}

# Who asks, as cPanel's own code sees it.
sub who {
    refuse( '403 Forbidden', 'api-token', 'This page is for people who log in; an API token is not accepted.' )
      if length( $ENV{WHM_API_TOKEN_NAME} // '' );
    my $role = eval {
        Whostmgr::ACLS::init_acls();
        Whostmgr::ACLS::hasroot() ? 'operator' : Whostmgr::ACLS::checkacl('software-ocsp-stapling') ? 'viewer' : '';
    };
    my $user = pick( $ENV{REMOTE_USER}, qr/[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}/ );
    refuse( '403 Forbidden', 'forbidden', 'This page needs root privileges in WHM, or the privilege OCSP Stapling.' )
      if !$role || !defined $user;
    my $token   = pick( $ENV{cp_security_token}, qr{/cpsess[0-9]{1,32}} ) // '';
    return { User => $user, Role => $role, Token => $token };
}

# The whole request to the service.
sub request {
    my ($caller) = @_;
    my $method = pick( $ENV{REQUEST_METHOD}, qr/GET|POST/ )
      // refuse( '405 Method Not Allowed', 'bad-method', 'Only GET and POST are understood here.' );
    my $query = pick( $ENV{QUERY_STRING} // '', $QUERY )
      // refuse( '400 Bad Request', 'bad-query', 'The address of this page contains something that is not allowed.' );
    my $body = $method eq 'POST' ? body() : '';
    return join "\r\n", "$method /?$query HTTP/1.1", 'Host: ocsp-stapling', 'Connection: close',
      ( map { "X-Ocsp-Stapling-$_: $caller->{$_}" } sort keys %{$caller} ),
      ( 'Content-Type: application/x-www-form-urlencoded' ) x ( $method eq 'POST' ),
      'Content-Length: ' . length $body, '', $body;
}

# The form that was posted: exactly as many bytes as were announced, in time, and not too many.
sub body {
    pick( $ENV{CONTENT_TYPE}, qr{application/x-www-form-urlencoded(?:;.*)?}s )
      // refuse( '415 Unsupported Media Type', 'bad-form', 'Only ordinary forms are understood here.' );
    my $length = pick( $ENV{CONTENT_LENGTH}, qr/[0-9]{1,18}/ )
      // refuse( '411 Length Required', 'bad-form', 'The form came without its length.' );
    refuse( '413 Content Too Large', 'too-large', 'The form is larger than 1 MiB.' ) if $length > $BODY_LIMIT;
    my $body = within( $BODY_TIME, \&take, \*STDIN, $length );
    return $body if defined $body && length $body == $length;
    return refuse( '408 Request Timeout', 'incomplete', 'The form did not arrive as a whole. Send it again.' );
}

# Up to $limit bytes of a handle.
sub take {
    my ( $handle, $limit ) = @_;
    my $taken = '';
    while ( length $taken < $limit && sysread $handle, $taken, $limit - length $taken, length $taken ) { }
    return $taken;
}

# The code's result, or undef when it failed or took more than $seconds.
sub within {
    my ( $seconds, $code, @arguments ) = @_;
    local $SIG{ALRM} = sub { die "deadline\n" };
    my $result = eval { alarm $seconds; $code->(@arguments) };
    alarm 0;
    return $result;
}

# The connection on which the service was asked, or undef.
sub ask {
    my ($request) = @_;
    socket my $service, $AF_UNIX, $SOCK_STREAM, 0 or return;
    connect $service, pack( 'S a108', $AF_UNIX, $SOCKET ) or return;    # struct sockaddr_un, unix(7)
    for ( my $sent = 0 ; $sent < length $request ; ) {
        $sent += syswrite( $service, $request, length $request, $sent ) || return;
    }
    return $service;
}

# The service's whole answer as { status, headers, body }, or undef.
sub heard {
    my $service = shift // return;
    my ( $head, $body ) = split /\r\n\r\n/, take( $service, $ANSWER_LIMIT ), 2;
    my ( $first, @lines ) = split /\r\n/, $head // return;
    my $status = pick( $first, qr{HTTP/1\.[01] [2-5][0-9][0-9] [A-Za-z ]{1,40}} ) // return;
    my %headers = map { /\A([A-Za-z-]+): ([\x20-\x7e]*)\z/ ? ( $1, $2 ) : () } @lines;
    return if ( pick( $headers{'Content-Length'}, qr/[0-9]+/ ) // -1 ) != length( $body // '' );    # broken off
    return { status => substr( $status, 9 ), headers => \%headers, body => $body };
}

# Print the answer; HTML inside WHM's page, everything else as it is.
sub deliver {
    my ( $answer, $caller, $chrome ) = @_;
    my %headers = map { defined $answer->{headers}{$_} ? ( $_ => $answer->{headers}{$_} ) : () } @PASSED_ON;
    my $html = ( $headers{'Content-Type'} // '' ) =~ m{\Atext/html\b} ? $chrome // chrome() : {};
    $headers{'Content-Security-Policy'} = $html->{policy} if $html->{policy};
    my $target = pick( $answer->{headers}{Location}, qr/\?$QUERY/ );
    $headers{Location} = "$caller->{Token}$PAGE$target" if defined $target;
    print "Status: $answer->{status}\r\n", ( map { "$_: $headers{$_}\r\n" } sort keys %headers ), "\r\n";
    return print $html->{top} // '', $answer->{body}, $html->{bottom} // '';
}

# Whether WHM's page will be wanted: forms are answered with a redirect, the page's script with JSON.
sub page_is_likely { return $ENV{REQUEST_METHOD} eq 'GET' && !wants_json() }

# WHM's page around ours as { top, bottom, policy }, empty where WHM has none.
sub chrome {
    return {} if !eval { require Whostmgr::HTMLInterface; require Digest::SHA };
    my $top    = printed( sub { Whostmgr::HTMLInterface::defheader( 'OCSP Stapling', $ICON, $PAGE ) } );
    my $bottom = printed( sub { Whostmgr::HTMLInterface::deffooter() } );
    return { top => $top, bottom => $bottom, policy => policy( $top . $bottom ) };
}

# What the code prints.
sub printed {
    open my $memory, '>', \my $text;
    local *STDOUT = $memory;
    eval { $_[0]->() };
    return $text;
}

# Only this server's scripts, and the inline ones of cPanel's page (by their hashes). It styles with attributes: free.
sub policy {
    my ($chrome) = @_;
    my @inline = map { s/\r\n?/\n/gr } $chrome =~ m{<script(?![^>]*\bsrc\s*=)[^>]*>(.*?)</script>}gis;
    my @hashes = map { "'sha256-" . Digest::SHA::sha256_base64($_) . "='" } @inline;
    return "script-src 'self' @hashes; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; "
      . "frame-ancestors 'self'";
}

# Whether the page's script asks.
sub wants_json { return ( $ENV{QUERY_STRING} // '' ) =~ /(?:\A|&)format=json(?:&|\z)/ }

# Say one sentence, as JSON where the page's script asked for it, and end.
sub refuse {
    my ( $status, $code, $sentence ) = @_;    # ours: without quotes and markup
    my $json = wants_json();
    print "Status: $status\r\nContent-Type: ", $json ? 'application/json' : 'text/html; charset=utf-8',
      "\r\nCache-Control: no-store\r\nContent-Security-Policy: default-src 'none'\r\n\r\n",
      $json ? qq({"schema": "ocsp-stapling/error/1", "error": {"code": "$code", "sentence": "$sentence"}}\n)
      : qq(<!DOCTYPE html><html lang="en"><title>OCSP Stapling</title><h1>OCSP Stapling</h1><p>$sentence</p>\n);
    exit 0;
}
